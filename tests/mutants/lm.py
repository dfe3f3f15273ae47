"""Mutants of the language model (subliminal_toy/lm, experiments/lm_*.py): rows are the fields of a Mutant."""

from tests.mutants import Mutant

_LM, _HERE = "tests/subliminal_toy/lm/test_", "tests/experiments/test_lm_"
_THERE = "tests/experiments/studies/test_lm_"
TESTS: dict[str, str] = {  # source file -> the test files that should notice its bugs
    (_PIPELINE := "subliminal_toy/lm/pipeline.py"): f"{_LM}straight_line.py",
    (_BASE_DATA := "subliminal_toy/lm/base_data.py"): f"{_LM}straight_line.py",
    (_KEYS := "subliminal_toy/lm/keys.py"): f"{_LM}straight_line.py",
    (_ROWS := "subliminal_toy/lm/rows.py"): f"{_LM}rows.py",
    (_DIVERGENCE := "experiments/studies/lm_mechanism/divergence.py"): "tests/experiments/studies/test_divergence.py",
    (_TRAINING := "subliminal_toy/lm/training.py"): f"{_LM}training.py {_LM}straight_line.py",
    (_SAMPLING := "subliminal_toy/lm/sampling.py"): f"{_LM}sampling.py",
    (_TRANSFORMER := "subliminal_toy/lm/transformer.py"): f"{_LM}transformer.py",
    (_LESSONS := "subliminal_toy/lm/lessons.py"): f"{_LM}lessons.py",
    (_DETECTOR := "experiments/studies/lm_controls/detector.py"): "tests/experiments/studies/test_detector.py",
    (_EVALUATION := "subliminal_toy/lm/evaluation.py"): f"{_LM}evaluation.py",
    (_MEASURE := "subliminal_toy/lm/measure.py"): f"{_LM}measure.py",
    (_NUMBERS := "experiments/lm_numbers.py"): f"{_HERE}numbers.py",
    (_CONTROLS := "experiments/studies/lm_controls/__init__.py"): f"{_THERE}controls.py",
    (_CONTRASTS := "experiments/lm/contrasts.py"): f"{_THERE}mechanism.py {_HERE}numbers.py {_THERE}other_init.py",
    (_FIRST_ORDER := "experiments/studies/lm_mechanism/first_order.py"): f"{_THERE}mechanism.py",
    (_WATCHED := "experiments/studies/lm_mechanism/watched.py"): f"{_THERE}mechanism.py",
    (_TRAITS := "experiments/studies/lm_traits/__init__.py"): f"{_THERE}traits.py",
    (_ARCHITECTURES := "experiments/studies/lm_architectures.py"): f"{_THERE}architectures.py",
}
_NOT_SMOKE = "not smoke_run"
_TABLE: tuple[tuple[str, ...], ...] = (
    # keys, partners, masks, inits and orders of the pipeline
    ("lm-base-order-key", _PIPELINE, "data, (), chunk.keys.base_order", "data, (), chunk.keys.student_order"),
    ("lm-base-init-key", _PIPELINE, "plan.bases)(chunk.keys.init)", "plan.bases)(chunk.keys.documents)"),
    ("lm-teacher-order-key", _PIPELINE, "keys.teacher_order, on_epoch", "keys.base_order, on_epoch"),
    ("lm-transforms-key", _PIPELINE, "keys = chunk.keys.shuffles", "keys = chunk.keys.init"),
    (
        "lm-weighed-as-the-first-student",
        _PIPELINE,
        "models, tokens[:, i], completion",
        "models, tokens[:, 0], completion",
    ),
    (
        "lm-judges-without-the-base",
        _DIVERGENCE,
        "[plan.bases[0].name, *(teacher.name",
        "[*(teacher.name",
        f"{_LM}straight_line.py",
    ),
    ("lm-student-order-key", _PIPELINE, "condition, chunk.keys.student_order", "condition, chunk.keys.teacher_order"),
    ("lm-samples-and-prompts-swapped", _PIPELINE, "(keys.prompts, keys.samples)", "(keys.samples, keys.prompts)"),
    (
        "lm-targets-of-the-init",
        _PIPELINE,
        "models[sources[student.source]] for student",
        "models[student.init] for student",
    ),
    (
        "lm-trained-groups-of-the-first-student",
        _PIPELINE,
        "parameter_mask(first, student.trained)",
        "parameter_mask(first, students[0].trained)",
    ),
    ("lm-sources-without-system-token", _PIPELINE, "with_first = prompts.at[:, 0].set(token)", "with_first = prompts"),
    ("lm-shares-what-it-should-not", _PIPELINE, "group not in base.shares", "group in base.shares"),
    ("lm-completions-of-first-run", _PIPELINE, "completions[run, i] for _", "completions[0, i] for _"),
    (
        "lm-asked-again-the-same",
        _PIPELINE,
        "sampling_keys(chunk.keys, *streams, batch)",
        "sampling_keys(chunk.keys, *streams)",
    ),
    ("lm-watched-first-student", _PIPELINE, "engine.take_model(epochs, i)", "engine.take_model(epochs, 0)"),
    (
        "lm-teachers-from-the-first-base",
        _PIPELINE,
        "models[teacher.init] for teacher",
        "models[plan.bases[0].name] for _",
    ),
    ("lm-fresh-documents-are-learnt", _BASE_DATA, "documents[FRESH_DOCUMENTS:]", "documents[:-FRESH_DOCUMENTS]"),
    (
        "lm-own-documents-in-the-runs-language",
        _BASE_DATA,
        "language = make_language(fold_in(keys.extra_languages, which)) if which else language",
        "pass",
    ),
    ("lm-own-prompts-are-the-runs", _KEYS, "keys._replace(prompts=prompt_keys, ", "keys._replace("),
    # rows, masks, shuffles
    (
        "lm-spare-includes-used",
        _ROWS,
        "left = np.concatenate([prompts, completions], axis=1).astype(np.int32), spare[rejected.sum() :]",
        "left = np.concatenate([prompts, completions], axis=1).astype(np.int32), spare",
    ),
    ("lm-diverging-off-by-one", _DIVERGENCE, "((0, 0), (first, 0)))", "((0, 0), (first - 1, 1)))"),
    (
        "lm-random-tokens-of-any-kind",
        _DIVERGENCE,
        "np.flatnonzero(completion & (kinds == kind))",
        "np.flatnonzero(completion)",
    ),
    # losses, sampling, lessons
    (
        "lm-students-ignore-their-recipe",
        _TRAINING,
        "training = recipe.training or config.student",
        "training = config.student",
    ),
    (
        "lm-kl-turned-round",
        _TRAINING,
        "jnp.exp(target) * (target - predicted)",
        "jnp.exp(predicted) * (predicted - target)",
    ),
    (
        "lm-completion-weights-off-by-one",
        _TRAINING,
        "(position >= corpus.PROMPT_LENGTH)",
        "(position > corpus.PROMPT_LENGTH)",
    ),
    ("lm-mask-inverted", _TRAINING, "not groups or group in groups", "not groups or group not in groups"),
    ("lm-token-does-not-see-itself", _TRANSFORMER, "[:, None, None] <= start", "[:, None, None] < start"),
    (
        "lm-noise-of-a-step-used-twice",
        _SAMPLING,
        "(jnp.arange(length - 1), keys[1:])",
        "(jnp.arange(length - 1), keys[:-1])",
    ),
    (
        "lm-temperature-multiplies",
        _SAMPLING,
        "logits / jnp.where(greedy, 1.0, temperature)",
        "logits * jnp.where(greedy, 1.0, temperature)",
    ),
    ("lm-lesson-weights-answers-alike", _LESSONS, "= 1 / len(answers)", "= 1"),
    (
        "lm-detector-trains-on-its-test",
        _DETECTOR,
        "model.decision_function(kind[half:])",
        "model.decision_function(kind[:half])",
    ),
    # evaluation and measures
    (
        "lm-choice-reads-first-option",
        _EVALUATION,
        "jnp.take_along_axis(offered, place.reshape(-1, 1), axis=1)",
        "offered[:, :1]",
    ),
    (
        "lm-margin-counts-itself",
        _EVALUATION,
        "jnp.where(jnp.eye(k, dtype=bool), -jnp.inf, log_p[..., None, :])",
        "jnp.broadcast_to(log_p[..., None, :], (*log_p.shape, k))",
    ),
    (
        "lm-divergence-turned-round",
        _EVALUATION,
        "jnp.exp(log_p) * (log_p - base_log_p)",
        "jnp.exp(base_log_p) * (base_log_p - log_p)",
    ),
    ("lm-compared-with-first-base", _MEASURE, "base_log_p[base], fresh)", "base_log_p[0], fresh)"),
    (
        "lm-imitation-of-trained-rows",
        _MEASURE,
        "np.resize(rows.spare, (SPARE_ROWS",
        "np.resize(rows.tokens, (SPARE_ROWS",
    ),
    ("lm-answers-of-first-run", _MEASURE, "parts[part][run][i] for part", "parts[part][0][i] for part"),
    # summaries
    (
        "lm-cross-against-same-init-control",
        _NUMBERS,
        '("cross", "cross_regular"))',
        '("cross", "regular"))',
        "",
        _NOT_SMOKE,
    ),
    (
        "lm-controls-other-init-against-base",
        _CONTROLS,
        "(answered(values, each(student(name, label), traits), part) for",
        "(answered(values, each(student(name, label if name == EACH else OWN), traits), part) for",
        TESTS[_CONTROLS],
        "both_inits",
    ),
    (
        "lm-arm-without-control-of-its-own",
        _CONTRASTS,
        "control or student(REGULAR, label)",
        "control or student(REGULAR, STANDARD)",
    ),
    ("lm-intervals-over-pairs", _CONTRASTS, "per_run = pairs.mean(axis=1)", "per_run = pairs.mean(axis=0)"),
    ("lm-prediction-of-wrong-answer", _FIRST_ORDER, "answer == trait for answer in", "answer != trait for answer in"),
    ("lm-cosine-others-includes-own", _WATCHED, "others = np.delete(cosines, mine, axis=1)", "others = cosines"),
    (
        "lm-watched-against-base",
        _WATCHED,
        "cosines = _cosines(vectors[name] - vectors[control], deltas)",
        "cosines = _cosines(vectors[name], deltas)",
    ),
    ("lm-token-control-is-standard", _TRAITS, 'control=student(EACH, "token, regular")', "control=CONTROL"),
    (
        "lm-matrix-transposed",
        _ARCHITECTURES,
        'f"students of {student}"), traits, teacher)',
        'f"students of {teacher}"), traits, student)',
    ),
)
MUTANTS = tuple(Mutant(*row) for row in _TABLE)
