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
        "mixed-matrix-transposed", "one_step.py", "(z, t))(y)\n", "(z, t))(y).T\n", "test_one_step.py", "names_its_axes"
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
        "bend = subtract(add(square(first), second),",
        "bend = subtract(second,",
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
        "first_negative(eps, products + audible)",
        "first_negative(eps, -products + audible)",
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

_FURTHER = (
    (
        "softmax-others-include-own",
        "losses.py",
        "[nothing, before]",
        "[s[:, :1], before]",
        "test_rounding.py",
        "softmax_range",
    ),
    ("softmax-range-forgets-slip", "losses.py", "slip = 8 *", "slip = -8 *", "test_rounding.py", "softmax_range"),
    (
        "sum-rounds-inwards",
        "intervals.py",
        "error = terms * (",
        "error = -terms * (",
        "test_rounding.py",
        "operations_round",
    ),
    (
        "product-rounds-to-nearest",
        "intervals.py",
        "return outward(Interval(lo, hi))",
        "return Interval(lo, hi)",
        "test_rounding.py",
        "operations_round",
    ),
    (
        "matmul-forgets-its-rounding",
        "intervals.py",
        "* (1 + slack) + slack * jnp.abs(middle)",
        "",
        "test_rounding.py",
        "operations_round",
    ),
    (
        "activations-round-to-nearest",
        "activations.py",
        "ULPS = 32.0",
        "ULPS = 0.0",
        "test_rounding.py",
        "activation_ranges",
    ),
    (
        "unknown-counts-as-proved",
        "radius.py",
        "return (value >= -NOTHING) & (curved | straight)",
        "return value >= -NOTHING",
        "test_radius.py",
        "b1_radius_is",
    ),
    (
        "march-starts-each-cell-at-zero",
        "radius.py",
        "good = _holds(bound(cell.at, end),",
        "good = _holds(bound(cell.at * 0, end),",
        "test_radius.py",
        "b4_march",
    ),
    (
        "checker-blind-to-tilt",
        "conditions.py",
        "violation = jnp.where(null &",
        "violation = 0 * jnp.where(null &",
        "test_conditions.py",
        "names_what_fails",
    ),
    (
        "checker-takes-every-rank",
        "conditions.py",
        "null & (rank == jnp.max(rank))[:, None]",
        "null | (values < FULL)",
        "test_conditions.py",
        "saturated",
    ),
    (
        "checker-never-shrinks",
        "conditions.py",
        "SHRINK = (1.0, 2.0**-3, 2.0**-6, 2.0**-9)",
        "SHRINK = (1.0,)",
        "test_conditions.py",
        "saturated",
    ),
    (
        "checker-ignores-negative-curvature",
        "conditions.py",
        "dip = -jnp.linalg",
        "dip = 0 * jnp.linalg",
        "test_conditions.py",
        "names_what_fails or bad_only",
    ),
    (
        "lost-statements-mixed-up",
        "conditions.py",
        '"null_space": ("T2",)',
        '"null_space": ("T1",)',
        "test_conditions.py",
        "names_what_fails",
    ),
    (
        "noise-forgets-cancellation",
        "one_step.py",
        "jnp.maximum(pushed, _typical_push(loss, at)) * reach",
        "pushed * reach",
        "test_users.py",
        "common_shift",
    ),
    (
        "saturated-is-vacuous",
        "certificate.py",
        " & jnp.all(jnp.abs(products) <= audible)",
        "",
        "test_users.py",
        "saturated",
    ),
    (
        "loss-judged-at-unit-scale",
        "checks.py",
        "unit = jnp.sqrt(jnp.mean(z**2 + y**2)) + 1e-3\n",
        "unit, z, y = 1.0, z * 0, y * 0\n",
        "test_users.py",
        "outputs_that_occur",
    ),
    (
        "bound-of-any-ray",
        "certificate.py",
        "        check_bound(bound, seen.leading, seen.noise)\n",
        "        pass\n",
        "test_users.py",
        "belongs",
    ),
    (
        "kink-unnoticed",
        "certificate.py",
        "self.remainder_slope > 1.75",
        "self.remainder_slope > 0.5",
        "test_users.py",
        "l1_ or r2_",
    ),
    (
        "batches-summed-not-averaged",
        "coverage.py",
        "return tree_scale(1 / count, whole)",
        "return whole",
        "test_coverage.py",
        "s1_conjugate",
    ),
    (
        "conjugate-gradients-without-turn",
        "coverage.py",
        "tree_step(rest, turn, towards)",
        "rest",
        "test_coverage.py",
        "s1_conjugate",
    ),
    (
        "softmax-rank-like-squared-error",
        "coverage.py",
        "(outputs - softmax)",
        "outputs",
        "test_coverage.py",
        "s1_softmax",
    ),
    (
        "linearised-about-the-origin",
        "coverage.py",
        "(tree_step(moved, -1, params),)",
        "(moved,)",
        "test_coverage.py",
        "s7_",
    ),
    (
        "step-box-forgets-the-mean",
        "descent.py",
        "Interval(p.lo / len(inputs), p.hi / len(inputs))",
        "p",
        "test_further.py",
        "s2_step_box",
    ),
    (
        "step-box-skips-the-activation",
        "descent.py",
        "delta = multiply(matmul(delta, point(params[depth][0].T)), slopes[depth - 1])",
        "delta = matmul(delta, point(params[depth][0].T))",
        "test_further.py",
        "s2_step_box",
    ),
    (
        "descent-forgets-curvature",
        "losses.py",
        "bend = add(multiply(slope, jet.second), multiply(twice, square(jet.first)))",
        "bend = multiply(slope, jet.second)",
        "test_further.py",
        "s2_certified",
    ),
    (
        "trait-change-sign",
        "multi_step.py",
        "jnp.maximum(-change, 0)",
        "jnp.maximum(change, 0)",
        "test_further.py",
        "s3_",
    ),
    ("mismatch-forgets-the-norm", "multi_step.py", " * jnp.asarray(pushed_norm))", ")", "test_further.py", "s5_random"),
    (
        "angle-by-cosine",
        "preconditioned.py",
        "jnp.arcsin((kappa",
        "jnp.arccos((kappa",
        "test_further.py",
        "s4_no_metric",
    ),
    (
        "condition-counts-still-coordinates",
        "preconditioned.py",
        "jnp.where(s != 0, p, -jnp.inf)",
        "p",
        "test_further.py",
        "s4_condition",
    ),
    (
        "tolerated-condition-inverted",
        "preconditioned.py",
        "return gain / loss",
        "return loss / gain",
        "test_further.py",
        "s4_",
    ),
    (
        "inputs-needed-by-the-first-moment",
        "sampling.py",
        "math.ceil(2 * mean_square",
        "math.ceil(0.02 * mean_square",
        "test_further.py",
        "s6_so_many_inputs",
    ),
    (
        "labels-needed-forgets-variance",
        "sampling.py",
        "(variance + spread",
        "(0 * variance + 0.01 * spread",
        "test_further.py",
        "s6_so_many_labels",
    ),
)
MUTANTS += tuple(Mutant(*row) for row in _FURTHER)


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
