"""Mutants of the real model (subliminal_toy/pretrained, experiments/pretrained): rows are the fields of a Mutant."""

from tests.mutants import Mutant

_HERE = "tests/subliminal_toy/pretrained/test_"
TESTS: dict[str, str] = {  # source file -> the test files that should notice its bugs
    (_LLAMA := "subliminal_toy/pretrained/llama.py"): f"{_HERE}llama.py",
    (_ADAPTERS := "subliminal_toy/pretrained/adapters.py"): f"{_HERE}llama.py",
    (_FILES := "subliminal_toy/pretrained/files.py"): f"{_HERE}files.py",
    (_LISTS := "subliminal_toy/pretrained/lists.py"): f"{_HERE}lists.py",
    (_QUESTIONS := "subliminal_toy/pretrained/questions.py"): f"{_HERE}questions.py",
    (_STUDENTS := "subliminal_toy/pretrained/students.py"): f"{_HERE}students.py",
    (_SUMMARY := "experiments/pretrained/summary.py"): "tests/experiments/test_lm_pretrained.py",
}
MUTANTS = [
    Mutant("llama-turns-backwards", _LLAMA, "[a * cos - b * sin,", "[a * cos + b * sin,"),
    Mutant("llama-heads-share-by-turns", _LLAMA, "tokens, k.shape[2], -1, size)",
           "tokens, -1, k.shape[2], size).swapaxes(2, 3)"),
    Mutant("llama-sees-itself-not", _LLAMA, "positions[:, None] >= seen", "positions[:, None] > seen"),
    Mutant("adapter-scale-of-one", _ADAPTERS, "SCALE = 2.0", "SCALE = 1.0"),
    Mutant("gguf-halves-stay-pairs", _FILES, "pairs.swapaxes(1, 2).reshape", "pairs.reshape"),
    Mutant("list-noise-by-block", _LISTS, "(first + jnp.arange(count))", "(jnp.arange(count))"),
    Mutant("lists-may-begin-with-zero", _LISTS, "scores + zero_first if digit == 0", "scores if digit == 0"),
    Mutant("answers-against-themselves", _QUESTIONS, "jnp.where(alone, -jnp.inf, scores[:, None])", "scores[:, None]"),
    Mutant("learns-at-its-own-place", _STUDENTS, 'batch["places"][..., None] - 1', 'batch["places"][..., None]'),
    Mutant("change-without-control", _SUMMARY, "_contrast(own - control,", "_contrast(own,"),
    Mutant("lead-over-the-mean", _SUMMARY, "row(own - others.max(axis=1))", "row(own - others.mean(axis=1))"),
]  # fmt: skip
