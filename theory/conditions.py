"""Is this imitation loss one the theorem covers? A numerical check of its conditions (R2, R3, C3).

For a loss `L(z, y)` on outputs of shape `[n]`, with `M(z, y) = -d2L/dz dy`:

    minimum     (i)     z = y is a local minimum of L(., y): zero gradient, no descent nearby
    positive    (ii)    M(z, y) is symmetric and positive semi-definite, off the diagonal z = y too
    null_space  (iii')  dL/dz(z, y) is orthogonal to the null space of M(z, z), for all z and y

L1, T1 and K1 need (i) alone, T2 needs (i) and (iii'), S7 needs (ii); `lost` names what falls with a condition. The
check reports each condition's worst violation with the point where it was found. It can refute a condition; passing is
evidence, not proof. Violations are relative to the size of `M` (or of the gradient), so rescaling a loss changes
nothing. All are judged at the points and at smaller multiples of them: far out a softmax is saturated, and a gradient
of e^-400 is round-off; a gradient or matrix below `AUDIBLE` of the largest one is not judged by itself. (iii') is
judged only where `M(z, z)` has its generic rank with a clear gap below it: a saturated softmax has eigenvalues of e^-20
beside 1, which arithmetic cannot tell from zero. With more than `DENSE` outputs the matrices are looked at in `DENSE`
random directions, through products alone. Needs float64.
"""

import functools
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.one_step import Loss, mixed_product

TOLERANCE = 1e-7  # relative; second derivatives by autodiff are good to about 1e-13
NULL, FULL = 1e-12, 1e-6  # beside the largest, an eigenvalue below NULL counts as zero; between the two it is unclear
SHRINK = (1.0, 2.0**-3, 2.0**-6, 2.0**-9)
AUDIBLE = 1e-7  # beside the largest; round-off is 1e-16 of that
DENSE = 64
LOST = {
    "minimum": ("L1", "L2", "T1", "T2", "H2", "K1", "K2", "P2", "S1", "S2", "S3", "S5", "S6"),
    "positive": ("S7 (phi >= 0 at every eps in models linear in theta)",),
    "null_space": ("T2",),
}


class Finding(NamedTuple):
    """A condition's relative violation at each sample `[samples]`, and the points that go with it."""

    violation: Array
    points: dict[str, Array]


@dataclass(frozen=True)
class Condition:
    """One condition: whether it held, the worst relative violation, and the point (`z`, `y`, ...) that shows it."""

    name: str
    holds: bool
    violation: float
    witness: dict[str, Any]

    def __str__(self) -> str:
        verdict = "holds" if self.holds else f"FAILS (violation {self.violation:.2e}) at {self.witness}"
        return f"{self.name}: {verdict}"


@dataclass(frozen=True)
class LossReport:
    """The verdict on a loss: three conditions, in the order (i), (ii), (iii)."""

    conditions: tuple[Condition, ...]

    @property
    def holds(self) -> bool:
        """Whether L1, T1 and T2 stand: (i) and (iii') were not refuted."""
        return not set(self.failed) & {"minimum", "null_space"}

    @property
    def lost(self) -> tuple[str, ...]:
        """The statements that do not stand for this loss, in order."""
        return tuple(dict.fromkeys(label for name in self.failed for label in LOST[name]))

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the conditions that were refuted."""
        return tuple(condition.name for condition in self.conditions if not condition.holds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {
            "holds": self.holds,
            "failed": list(self.failed),
            "lost": list(self.lost),
            "conditions": [asdict(c) for c in self.conditions],
        }

    def __str__(self) -> str:
        return "\n".join(str(condition) for condition in self.conditions)


def check_imitation_loss(
    loss: Loss, n: int, *, key: Array | None = None, samples: int = 64, scale: float = 1.0
) -> LossReport:
    """Look for a violation of the conditions of remark 2 at random outputs (R2).

    Args:
        loss: `loss(z, y) -> scalar` for two vectors `[n]`, twice differentiable.
        n: number of outputs.
        key: random key; a fixed one when omitted.
        samples: pairs drawn with `z != y`; as many are used with `z = y`, and smaller multiples of all.
        scale: standard deviation of the outputs drawn; `check_loss_at` takes the outputs of your model instead.

    Raises:
        ValueError: `n`, `samples` or `scale` is not positive.
        TypeError: 64-bit types are off.
    """
    if n < 1 or samples < 1 or scale <= 0:
        raise ValueError(f"n, samples and scale must be positive, got {n}, {samples} and {scale}")
    keys = jax.random.split(jax.random.key(0) if key is None else key)
    return check_loss_at(loss, *(scale * jax.random.normal(k, (samples, n)) for k in keys))


def check_loss_at(loss: Loss, z: Array, y: Array) -> LossReport:
    """Look for a violation at the student's outputs `z` and the teacher's `y`, `[samples, n]`, and nearer to 0 (R2).

    Raises:
        TypeError: 64-bit types are off.
    """
    if jnp.asarray(0.0).dtype != jnp.float64:
        raise TypeError("the conditions need float64, got float32: wrap the call in `with jax.enable_x64(True):`")
    found = []
    for name, measure in zip(LOST, (_at_minimum, _at_pairs, _at_shrunken), strict=True):
        # One after the other: two batches of eigenvalues at a time can wait for each other's threads for ever.
        finding = jax.block_until_ready(jax.jit(functools.partial(measure, loss))(z, y))
        found.append(_verdict(name, finding))
    return LossReport(tuple(found))


def _at_minimum(loss: Loss, _z: Array, y: Array) -> Finding:
    """Measure (i) at `z = y`."""
    nudges = 1e-3 * _unit(y) * jax.random.normal(jax.random.key(1), y.shape)
    nudges, y = _shrunk(SHRINK[:2], nudges, y)
    return _minimum(loss, _frame(y.shape[1]), y, nudges)


def _at_pairs(loss: Loss, z: Array, y: Array) -> Finding:
    """Measure (ii) at `z = y` and at `z != y`."""
    z, y = _shrunk(SHRINK[:2], z, y)
    return _positive(loss, _frame(y.shape[1]), jnp.concatenate([y, z]), jnp.concatenate([y, y]))


def _at_shrunken(loss: Loss, z: Array, y: Array) -> Finding:
    """Measure (iii') at the points and nearer to 0."""
    return _null_space(loss, _frame(y.shape[1]), *_shrunk(SHRINK, z, y))


def _shrunk(factors: tuple[float, ...], *points: Array) -> list[Array]:
    """Return `s x` for all factors and each `x` of `points`; for `s < 1`, `x` over the last one's size if > 1."""
    unit = jnp.maximum(_unit(points[-1]), 1)
    return [jnp.concatenate([s / unit ** (s < 1) * x for s in factors]) for x in points]


def _unit(y: Array) -> Array:
    return jnp.sqrt(jnp.mean(y**2)) + 1e-300


def _frame(n: int) -> Array:
    """Return the directions `[n, k]` in which matrices are looked at: all, or `DENSE` random orthonormal ones.

    Those are cosines of random frequencies with random signs.
    """
    if n <= DENSE:
        return jnp.eye(n)
    keys = jax.random.split(jax.random.key(2))
    signs = jax.random.rademacher(keys[0], (n, 1), dtype=float)
    frequencies = 1.0 + jax.random.permutation(keys[1], n - 1)[None, :DENSE].astype(float)
    angle = jnp.pi / n * (0.5 + jnp.arange(n, dtype=float)[:, None]) * frequencies
    return signs * jnp.sqrt(2.0 / n) * jnp.cos(angle)


def _matrices(loss: Loss, frame: Array, z: Array, y: Array) -> Array:
    """Return `V' M(z, y) V` for the frame `V` `[n, k]`, as `[samples, k, k]`; `M` only ever meets vectors."""
    push = jax.vmap(jax.vmap(lambda a, b, v: mixed_product(loss, a, b, v), (None, None, 1), 1), (0, 0, None))
    return jnp.einsum("nj,bnk->bjk", frame, push(z, y, frame))


def _minimum(loss: Loss, frame: Array, y: Array, nudges: Array) -> Finding:
    """Measure (i) at `z = y`: the gradient, the smallest eigenvalue of the Hessian, and a nudge off the minimum."""
    gradient, value = jax.grad(loss), jax.vmap(loss)
    away, lengths = jax.vmap(gradient)(y + nudges, y), jnp.sum(nudges**2, axis=1)
    size = jnp.max(jnp.linalg.norm(away, axis=1) / jnp.sqrt(lengths)) + 1e-200  # times small squares not 0
    flat = jnp.linalg.norm(jax.vmap(gradient)(y, y), axis=1) / (size * (1 + jnp.linalg.norm(y, axis=1)))
    bend = lambda y, v: jax.jvp(lambda z: gradient(z, y), (y,), (v,))[1]  # noqa: E731
    hessians = jnp.einsum("nj,bnk->bjk", frame, jax.vmap(jax.vmap(bend, (None, 1), 1), (0, None))(y, frame))
    dip = -jnp.linalg.eigvalsh(hessians)[:, 0] / size
    rise = value(y + nudges, y) - value(y, y)
    drop = jnp.maximum(-rise - 1e-13 * (1 + jnp.abs(value(y, y))), 0) / (size * lengths)
    return Finding(jnp.maximum(jnp.maximum(flat, dip), drop), {"z": y, "y": y})


def _positive(loss: Loss, frame: Array, z: Array, y: Array) -> Finding:
    """Measure (ii): asymmetry, and the smallest eigenvalue of the symmetric part."""
    matrices = _matrices(loss, frame, z, y)
    size = jnp.max(jnp.abs(matrices)) + 1e-300
    flipped = jnp.swapaxes(matrices, 1, 2)
    skew = jnp.max(jnp.abs(matrices - flipped), axis=(1, 2)) / size
    values, vectors = jnp.linalg.eigh((matrices + flipped) / 2)
    violation = jnp.maximum(skew, -values[:, 0] / size)
    return Finding(violation, {"z": z, "y": y, "v": vectors[:, :, 0] @ frame.T, "vMv": values[:, 0]})


def _null_space(loss: Loss, frame: Array, z: Array, y: Array) -> Finding:
    """Measure (iii'): the part of `dL/dz(z, y)` along what `M(z, z)` kills, relative to the gradient."""
    matrices = _matrices(loss, frame, z, z)
    values, vectors = jnp.linalg.eigh((matrices + jnp.swapaxes(matrices, 1, 2)) / 2)
    largest = jnp.max(jnp.abs(values), axis=1, keepdims=True)
    null, full = jnp.abs(values) <= NULL * largest, jnp.abs(values) >= FULL * largest
    clear = jnp.all(null | full, axis=1) & (largest >= AUDIBLE * jnp.max(largest))[:, 0]
    rank = jnp.where(clear, jnp.sum(full & ~null, axis=1), -1)
    gradients = jax.vmap(jax.grad(loss))(z, y)
    tilt = jnp.abs(jnp.einsum("sn,nk,skj->sj", gradients, frame, vectors))
    lengths = jnp.linalg.norm(gradients, axis=1, keepdims=True)
    tilt = tilt / (lengths + AUDIBLE * jnp.max(lengths) + 1e-300)
    violation = jnp.where(null & (rank == jnp.max(rank))[:, None], tilt, 0)
    column = jnp.argmax(violation, axis=1)
    worst = jnp.take_along_axis(vectors, column[:, None, None], axis=2)[:, :, 0] @ frame.T
    return Finding(jnp.max(violation, axis=1), {"z": z, "y": y, "v": worst})


def _verdict(name: str, finding: Finding) -> Condition:
    """Return the condition's verdict at its worst sample; a violation that is not a number counts as one."""
    violation = jnp.where(jnp.isnan(finding.violation), jnp.inf, finding.violation)
    worst = int(jnp.argmax(violation))
    found = float(violation[worst])
    holds = found <= TOLERANCE
    witness = {} if holds else {key: value[worst].tolist() for key, value in finding.points.items()}
    return Condition(name, holds, found, witness)
