"""Plant bugs in a copy of theory/, one at a time, and demand that the tests turn red.

    python -m tests.theory.mutants [name ...]

Each mutant replaces one piece of text in one file. The working files are never touched: theory/ and tests/theory/ are
copied to a temporary folder and the tests run there. A text that is no longer found, or tests that are not green before
any bug is planted, stop the run at once. Exits with status 1 if a mutant survives. About 20 seconds each.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """One planted bug: in `file`, `old` becomes `new`; `tests` is what should notice (file and -k expression)."""

    name: str
    file: str
    old: str
    new: str
    test_file: str
    expression: str


MUTANTS = (
    Mutant(
        "student-step-sign",
        "one_step.py",
        "return tree_scale(-1, objective(params))",
        "return objective(params)",
        "test_exact.py",
        "e1_",
    ),
    Mutant(
        "teacher-direction-sign",
        "one_step.py",
        "return tree_scale(-1, jax.grad(teacher_loss)(params))",
        "return jax.grad(teacher_loss)(params)",
        "test_preconditioned.py",
        "p1_sign",
    ),
    Mutant(
        "mixed-derivative-sign",
        "one_step.py",
        "    return -change\n",
        "    return change\n",
        "test_exact.py",
        "e1_ or e2_",
    ),
    Mutant(
        "mixed-matrix-not-transposed", "one_step.py", "(z, t))(y).T", "(z, t))(y)", "test_one_step.py", "names_its_axes"
    ),
    Mutant(
        "ray-product-sign",
        "one_step.py",
        "    return -jnp.mean(jnp.sum(slopes",
        "    return jnp.mean(jnp.sum(slopes",
        "test_radius.py",
        "b4_march",
    ),
    Mutant(
        "gauss-newton-forgets-M",
        "one_step.py",
        "pull(pushed / z.shape[0])",
        "pull(u / z.shape[0])",
        "test_multi_step.py",
        "k1_quadratic",
    ),
    Mutant(
        "gauss-newton-forgets-mean",
        "one_step.py",
        "pull(pushed / z.shape[0])",
        "pull(pushed)",
        "test_multi_step.py",
        "k1_quadratic",
    ),
    Mutant(
        "slope-without-noise-floor",
        "one_step.py",
        "audible = jnp.abs(values) > floor",
        "audible = jnp.abs(values) > 0 * floor",
        "test_one_step.py",
        "slope_fit",
    ),
    Mutant(
        "descent-sign",
        "one_step.py",
        "teacher_loss(tree_step(params, alpha, step))",
        "teacher_loss(tree_step(params, -alpha, step))",
        "test_limits.py",
        "c6_",
    ),
    Mutant(
        "cosine-forgets-a-norm",
        "trees.py",
        "scale = tree_norm(a) * tree_norm(b)",
        "scale = tree_norm(a)",
        "test_one_step.py",
        "trees_do",
    ),
    Mutant(
        "kl-gradient-reversed",
        "losses.py",
        "return jnp.sum(jnp.exp(log_q) * (log_q - log_p))",
        "return jnp.sum(jnp.exp(log_q) * (log_p - log_q))",
        "test_one_step.py",
        "closed_form",
    ),
    Mutant(
        "softmax-ignores-temperature",
        "losses.py",
        "return kept / self.temperature",
        "return kept / 1.0",
        "test_one_step.py",
        "closed_form",
    ),
    Mutant(
        "squared-error-ignores-weights",
        "losses.py",
        "jnp.sum(weights * (z - y) ** 2)",
        "jnp.sum((z - y) ** 2)",
        "test_one_step.py",
        "closed_form",
    ),
    Mutant(
        "softmax-bound-drops-square",
        "losses.py",
        "Interval(square(first).lo + second.lo, square(first).hi + second.hi)",
        "second",
        "test_radius.py",
        "b3_enclosures_shrink",
    ),
    Mutant(
        "layer-drops-cross-term",
        "mlp.py",
        "Interval(2 * turn.lo, 2 * turn.hi)",
        "Interval(turn.lo, turn.hi)",
        "test_radius.py",
        "b3_enclosures_shrink",
    ),
    Mutant(
        "chain-rule-drops-curvature",
        "mlp.py",
        "bend = add(multiply(ddg, square(jet.first)), multiply(dg, jet.second))",
        "bend = multiply(dg, jet.second)",
        "test_radius.py",
        "b3_enclosures_shrink",
    ),
    Mutant(
        "exact-matmul-drops-radius",
        "intervals.py",
        "(a.hi - a.lo) / 2 @ jnp.abs(b)",
        "(a.hi - a.lo) / 2 @ (0 * b)",
        "test_radius.py",
        "b3_interval",
    ),
    Mutant(
        "left-end-drops-a-term",
        "mlp.py",
        " + exact.value @ rate.weight",
        "",
        "test_radius.py",
        "b3_enclosures_hold",
    ),
    Mutant(
        "matmul-drops-radius", "intervals.py", "+ a_rad @ (jnp.abs(b_mid) + b_rad)", "", "test_radius.py", "b3_interval"
    ),
    Mutant(
        "sin-forgets-half-its-extremes",
        "activations.py",
        "((-math.pi / 2, math.pi / 2), (0.0, math.pi)",
        "((math.pi / 2,), (0.0, math.pi)",
        "test_radius.py",
        "b3_activation and sin",
    ),
    Mutant(
        "radius-twice-too-large",
        "radius.py",
        "bend = width**2 / 2 * jnp.minimum",
        "bend = width**2 / 4 * jnp.minimum",
        "test_radius.py",
        "b1_radius_is_two",
    ),
    Mutant(
        "radius-ignores-unknown",
        "radius.py",
        "return (value >= 0) & (curved | straight)",
        "return (value >= 0)",
        "test_radius.py",
        "b1_radius_is",
    ),
    Mutant(
        "relu-forgets-its-kink",
        "activations.py",
        "jnp.zeros_like(x.lo), jnp.inf)",
        "jnp.zeros_like(x.lo), 0.0)",
        "test_radius.py",
        "c5_the_rigorous or b3_relu",
    ),
    Mutant(
        "checker-blind-to-asymmetry",
        "conditions.py",
        "jnp.maximum(skew, -values[:, 0] / size)",
        "-values[:, 0] / size",
        "test_conditions.py",
        "names_what_fails",
    ),
    Mutant(
        "checker-blind-to-gradient",
        "conditions.py",
        "violation = jnp.where(null, jnp.maximum(moved, tilt), 0)",
        "violation = jnp.where(null, moved, 0)",
        "test_conditions.py",
        "names_what_fails",
    ),
    Mutant(
        "k-steps-sign",
        "multi_step.py",
        "left = tree_step(left, -alpha,",
        "left = tree_step(left, alpha,",
        "test_multi_step.py",
        "k1_quadratic",
    ),
    Mutant(
        "k-steps-use-the-start",
        "multi_step.py",
        "imitation_step(apply, loss, student, inputs, targets)",
        "imitation_step(apply, loss, params, inputs, targets)",
        "test_multi_step.py",
        "k1_quadratic",
    ),
    Mutant(
        "sampling-variance-not-centred",
        "sampling.py",
        " - jnp.sum(q * u, axis=1) ** 2",
        "",
        "test_sampling.py",
        "h2_variance_has",
    ),
    Mutant(
        "sampling-target-sign",
        "sampling.py",
        "return tree_scale(-1, jax.grad(objective)(params))",
        "return jax.grad(objective)(params)",
        "test_sampling.py",
        "h1_",
    ),
    Mutant(
        "certificate-misses-failure",
        "certificate.py",
        "first_negative(eps, products + noise)",
        "first_negative(eps, -products + noise)",
        "test_certificate.py",
        "sine",
    ),
    Mutant(
        "exact-forgets-the-bias",
        "exact.py",
        "    out = bias\n",
        "    out: Polynomial = (Fraction(0),)\n",
        "test_exact.py",
        "hand_computed or e3_rational",
    ),
)


def check_texts(mutants: tuple[Mutant, ...]) -> None:
    """Stop if a mutant's text is not found exactly once: a mutant that changes nothing proves nothing."""
    for mutant in mutants:
        count = (ROOT / "theory" / mutant.file).read_text().count(mutant.old)
        if count != 1:
            raise SystemExit(f"{mutant.name}: its text occurs {count} times in theory/{mutant.file}, expected once")


def make_copy(folder: Path) -> None:
    """Copy what the tests need: theory/, tests/theory/, tests/__init__.py and pyproject.toml."""
    skip = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(ROOT / "theory", folder / "theory", ignore=skip)
    shutil.copytree(ROOT / "tests/theory", folder / "tests/theory", ignore=skip)
    for name in ("pyproject.toml", "tests/__init__.py"):
        shutil.copy(ROOT / name, folder / name)


def run_pytest(folder: Path, test_file: str, expression: str) -> subprocess.CompletedProcess[str]:
    """Run one selection of tests in the copy, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "--tb=no", "-p", "no:cacheprovider", "-rfE"]
    command += [f"tests/theory/{test_file}", "-k", expression]
    environment = os.environ | {"PYTHONPATH": str(folder), "THEORY_PROFILE": "mutants", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def check_clean(folder: Path, mutants: Sequence[Mutant]) -> None:
    """Stop unless the same tests are green on the clean copy: else every mutant would look killed."""
    for test_file in sorted({m.test_file for m in mutants}):
        chosen = " or ".join(f"({m.expression})" for m in mutants if m.test_file == test_file)
        done = run_pytest(folder, test_file, chosen)
        if done.returncode != 0:
            raise SystemExit(f"{test_file} is not green without any mutant\n{done.stdout}{done.stderr}")


def run_tests(folder: Path, mutant: Mutant) -> tuple[bool, str]:
    """Return whether one of the mutant's tests failed (an error in setting up does not count), and which."""
    done = run_pytest(folder, mutant.test_file, mutant.expression)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutant.name}: pytest could not run (status {done.returncode})\n{done.stdout}{done.stderr}")
    red = re.search(r"FAILED \S*::(\S+)", done.stdout)
    return done.returncode == 1 and red is not None, red.group(1) if red else "-"


def try_mutant(folder: Path, mutant: Mutant) -> bool:
    """Plant the bug in the copy, run, restore; print one row of the table."""
    path = folder / "theory" / mutant.file
    clean = path.read_text()
    path.write_text(clean.replace(mutant.old, mutant.new))
    try:
        killed, by = run_tests(folder, mutant)
    finally:
        path.write_text(clean)
    print(f"| {mutant.name} | {by} | {'yes' if killed else 'NO'} |", flush=True)
    return killed


def main(names: list[str]) -> int:
    """Run all mutants, or those named; return the exit status."""
    check_texts(MUTANTS)
    unknown = set(names) - {m.name for m in MUTANTS}
    if unknown:
        raise SystemExit(f"unknown mutants: {sorted(unknown)}")
    chosen = [m for m in MUTANTS if not names or m.name in names]
    with tempfile.TemporaryDirectory() as name:
        make_copy(Path(name))
        check_clean(Path(name), chosen)
        print("| mutant | killed by | killed |\n|---|---|---|")
        survivors = [m.name for m in chosen if not try_mutant(Path(name), m)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed" + (f"; survived: {survivors}" if survivors else ""))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
