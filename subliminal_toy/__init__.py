"""Subliminal learning on a laptop: what is trained, sampled and measured. Experiments are elsewhere, in `experiments`.

    minimal      the MNIST experiment on one page: read this first; python -m subliminal_toy.minimal
    mnist        digits from noise: data, network, noise, losses, training of teachers and students
    lm           owls through numbers: a toy language, a transformer, lessons, lists, students, questions
    pretrained   owls in a real model: a Llama, its weights and tokenizer, adapters, lists, questions
    engine       the one training loop: runs x models, laid over devices
    training     how a phase is trained, as an Optax update rule
    settings     what a setting is: its range, unit and help text; how a phase is trained
    statistics   means and medians over runs, with 95% intervals
    progress     a bar in notebooks and on terminals
    machine      cores and memory

Each is imported when it is first used: `import subliminal_toy` is cheap, `subliminal_toy.mnist` works.

Example:
    >>> import subliminal_toy
    >>> subliminal_toy.mnist.config_for("digits").aux_logits
    3
"""

import importlib
from types import ModuleType

__all__ = [
    "engine",
    "lm",
    "machine",
    "minimal",
    "mnist",
    "pretrained",
    "progress",
    "settings",
    "statistics",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"subliminal_toy has no part {name!r}; it has {', '.join(__all__)}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
