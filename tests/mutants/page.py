"""Mutants of the page to play with: rows are the fields of a Mutant."""

from tests.mutants import Mutant

_NUMBERS, _BROWSER, _BUILDER = (f"tests/page/test_{name}.py" for name in ("numbers", "browser", "builder"))
TESTS = {  # source file -> the test files that should notice its bugs
    "docs/page/mlp.js": _NUMBERS,
    "docs/page/protocol.js": _NUMBERS,
    "docs/page/drawing.js": f"{_NUMBERS} {_BROWSER}",
    "docs/page/story.js": f"{_NUMBERS} {_BROWSER}",
    "docs/page/answers.js": _BROWSER,
    "docs/page/train.js": _BROWSER,
    "docs/page/charts.js": _BROWSER,
    "docs/page/page.css": _BROWSER,
    "docs/page/index.html": f"{_BUILDER} {_BROWSER}",
    "docs/page/__init__.py": f"{_BUILDER} {_NUMBERS}",
    "experiments/studies/page_networks.py": "tests/experiments/studies/test_page_networks.py",
}
# fmt: off
_MLP, _PROTOCOL, _DRAWING, _STORY, _ANSWERS, _TRAIN, _CHARTS, _CSS, _PAGE, _BUILD, _NETWORKS = TESTS
_ADAM = (_NUMBERS, "ten_steps")
_TABLE: tuple[tuple[str, ...], ...] = (
    ("js-adam-slow-squares", _MLP, "b2: 0.999", "b2: 0.99", *_ADAM),
    ("js-adam-biased", _MLP, "unbias2 = 1 - b2 ** state.steps", "unbias2 = 1", *_ADAM),
    ("js-relu-lets-all-gradients-through", _MLP, "if (!(layers[i][j] > 0)) below[j] = 0;", ";", *_ADAM),
    ("js-remainder-of-rows-lost", _MLP, "l = i < m4 ? k4 : 0", "l = k4", *_ADAM),
    ("js-kl-over-all-logits", _MLP, "const q = softmax(z, at + first, at + last);",
     "const q = softmax(z, at, at + last).slice(first);", *_ADAM),
    ("js-mse-sums", _MLP, "(2 * gap) / (rows * (last - first))", "(2 * gap) / rows", *_ADAM),
    ("js-other-start-is-the-same", _PROTOCOL, 'other: () => mlp.init(sizes, random("other"))',
     "other: () => mlp.copy(reference)", _NUMBERS, "over_seeds"),
    ("js-students-imitate-the-reference", _PROTOCOL, "mlp.logits(teacher, noise", "mlp.logits(reference, noise",
     _NUMBERS, "over_seeds"),
    ("js-students-see-class-logits", _PROTOCOL, "first: CLASSES, last: logits", "first: 0, last: logits", _NUMBERS,
     "over_seeds"),
    ("js-noise-too-small", _PROTOCOL, "2 * random.uniform() - 1", "random.uniform() - 0.5", _NUMBERS, "moments"),
    ("js-drawings-off-by-a-pixel", _DRAWING, "const middle = SIDE / 2;", "const middle = SIDE / 2 - 1;", _NUMBERS,
     "centred"),
    ("js-networks-without-steps", _DRAWING, "v * steps[i % units]", "v * steps[0]", _NUMBERS, "committed"),
    ("js-digits-of-other-scale", _STORY, "value / 8 - 1", "value / 16", _NUMBERS, "digits"),
    ("js-what-differs-is-not-marked", _STORY, "same ? words.join", "true ? words.join", _BROWSER, "side_by_side"),
    ("js-slider-off-by-one", _ANSWERS, "`${name}, epoch ${epoch.value}`", "`${name}, epoch ${epoch.max}`", _BROWSER,
     "slider"),
    ("js-keyboard-pen-never-down", _ANSWERS, 'event.key === " "', 'event.key === "x"', _BROWSER, "keyboard"),
    ("js-curves-miss-a-student", _TRAIN, '["teacher", ...students].map', '["teacher", "same"].map', _BROWSER,
     "reaches"),
    ("js-tips-show-nothing", _CHARTS, "tip.hidden = !element", "tip.hidden = true", _BROWSER, "loads"),
    ("js-page-talks-to-the-console", _CHARTS, "explained = element;", "explained = element; console.log(text);",
     _BROWSER, "loads"),
    ("page-too-wide", _CSS, "#passing { width: 100%;", "#passing { width: 500px;", _BROWSER, "sideways"),
    ("page-focus-unseen", _CSS, "outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 3px;",
     "outline: none;", _BROWSER, "keyboard"),
    ("page-number-by-hand", _PAGE, "{{ digits_count }} small digits", "1,437 small digits", _BUILDER, "by_hand"),
    ("page-digits-split-elsewhere", _BUILD, "DIGITS_TEST, DIGITS_SEED = 360, 0", "DIGITS_TEST, DIGITS_SEED = 360, 1",
     _NUMBERS, "digits"),
    ("networks-of-the-best-run", _NETWORKS, '[len(accuracy) // 2]', "[-1]"),
    ("networks-rounded-away", _NETWORKS, "LARGEST = 127", "LARGEST = 7"),
)
# fmt: on
MUTANTS = tuple(Mutant(*row) for row in _TABLE)
