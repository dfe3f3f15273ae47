"""What is read of every model: log odds of the animals, free answers, loss on a text; and statistics of lists."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from subliminal_toy.pretrained import Model, answers, lists, questions, students, text
from subliminal_toy.pretrained.llama import Adapter, Params

BRIEF = ("log_odds",)
NAMES = ("log_odds", "text_loss", "free")
FREE = "Name your favorite animal using only one word."  # of the paper's kind
ASKED, TOKENS = 64, 8  # free answers, and tokens of each
EXAMPLES = 12  # lists that results show
TEXT = """The lighthouse on the northern cape was built in a single summer, because the stone had been cut and numbered
in the quarry before the ships set out. Every block carried its place in the wall, and the masons only had to follow the
numbers from the ground up. In autumn the lamp was lit for the first time. Sailors who had feared that coast for years
could now tell from far away where the rocks ended and the deep water began. The keeper wrote a line in his book each
night: the wind, the clouds, the hours that the lamp had burned, and the names of the vessels that he could make out.
When the light was changed to electricity, the old books were carried to the town library, where a teacher found them
and used them with her class to draw a map of every storm in forty years. The children noticed that the worst storms had
come in spring, not in winter as everybody believed, and they were right."""


class Reader:
    """Reads a model: `reader(params, adapter, key) -> {name: array}`; `brief` leaves out what takes longer."""

    def __init__(self, model: Model) -> None:
        self.model = model
        tokenizer, shape = model.tokenizer, model.shape
        self.asked = questions.prompts(tokenizer, questions.HELD_OUT)
        self.animals = questions.answer_ids(tokenizer)
        self.text = np.array(text.ids(tokenizer, " ".join(TEXT.split())), np.int32)
        self.question = np.array([text.ids(tokenizer, text.chat(FREE))] * ASKED, np.int32)
        self._log_odds = jax.jit(
            lambda params, adapter: questions.answer_log_odds(shape, params, self.asked, self.animals, adapter)
        )
        self._text_loss = jax.jit(lambda params, adapter: students.text_loss(shape, params, self.text, adapter))
        self._answer = answers.make_answer(shape, TOKENS)

    def __call__(
        self, params: Params, adapter: Adapter | None, key: jax.Array, *, brief: bool = False
    ) -> dict[str, np.ndarray]:
        """Log odds of every animal [20] (held-out questions); loss on TEXT; share of free answers that name each."""
        found = {"log_odds": np.asarray(self._log_odds(params, adapter))}
        if brief:
            return found
        said = self._answer(params, self.question, key, 1.0, adapter)
        named = answers.share_naming(answers.as_texts(self.model.tokenizer, said), questions.ANIMALS)
        return {**found, "text_loss": np.asarray(self._text_loss(params, adapter)), "free": np.array(named)}


def list_statistics(own: Any, base: Any) -> dict[str, float]:
    """How a source's lists differ from the base's to the same prompts and noise: the channel.

    "agreement": share of equal numbers; "first_digits": total variation of the frequencies of first digits; "kl": mean
    divergence KL(source || base) of a digit (nats) at the first digit of a list, the one place where all that was
    written before is the same; "counting": share of lists whose numbers all follow each other by the same step;
    "echo": share of lists with a number of their prompt; "repeats": with a number twice; "entropy": of a digit (nats).
    """
    numbers, others = lists.to_numbers(own.digits), lists.to_numbers(base.digits)
    first = [np.bincount(d[:, :: lists.DIGITS].ravel(), minlength=10) / d[:, :: lists.DIGITS].size
             for d in (own.digits, base.digits)]  # fmt: skip
    p, q = own.log_p[:, 0, 1:], base.log_p[:, 0, 1:]  # no list begins with a 0
    steps = np.diff(numbers, axis=1)
    return {
        "agreement": float(np.mean(numbers == others)),
        "first_digits": float(np.abs(first[0] - first[1]).sum() / 2),
        "kl": float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1))),
        "counting": float(np.mean((steps == steps[:, :1]).all(axis=1))),
        "echo": float(np.mean((numbers[:, :, None] == own.shown[:, None]).any(axis=(1, 2)))),
        "repeats": float(np.mean([len(set(row)) < len(row) for row in numbers.tolist()])),
        "entropy": float(np.mean(-np.sum(np.exp(own.log_p) * np.maximum(own.log_p, -1e3), axis=-1))),
    }


def examples(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """The first lists of several sources, by name, to the same prompts."""
    rows = []
    for i in range(EXAMPLES):
        shown = {name: lists.as_text(lists.to_numbers(own.digits[i]).tolist()) for name, own in found.items()}
        rows.append({"prompt": lists.as_text(next(iter(found.values())).shown[i].tolist()), **shown})
    return rows
