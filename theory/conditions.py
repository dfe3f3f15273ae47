"""Is this imitation loss one the theorem covers? A numerical check of its three sufficient conditions (R2, R3).

For a loss `L(z, y)` on outputs of shape `[n]`, with `M(z, y) = -d2L/dy dz`:

    minimum     (i)    z = y is a local minimum of L(., y): zero gradient, no descent nearby
    positive    (ii)   M(z, y) is symmetric and positive semi-definite
    null_space  (iii)  the null space of M is the same at all points and orthogonal to dL/dz

The check draws points, half of them with `z = y`, and reports each condition's worst violation with the point where it
was found. It can refute a condition; passing is evidence, not proof. Violations are relative to the size of `M` (or of
the gradient), so rescaling a loss changes nothing. Needs float64.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.one_step import Loss, mixed_matrix

TOLERANCE = 1e-7  # relative; second derivatives by autodiff are good to about 1e-13
NULL = 1e-9  # an eigenvalue this small beside the largest counts as zero


NAMES = ("minimum", "positive", "null_space")


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
        """Whether no condition was refuted."""
        return all(condition.holds for condition in self.conditions)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the conditions that were refuted."""
        return tuple(condition.name for condition in self.conditions if not condition.holds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {"holds": self.holds, "failed": list(self.failed), "conditions": [asdict(c) for c in self.conditions]}

    def __str__(self) -> str:
        return "\n".join(str(condition) for condition in self.conditions)


def check_imitation_loss(
    loss: Loss, n: int, *, key: Array | None = None, samples: int = 64, scale: float = 1.0
) -> LossReport:
    """Look for a violation of the three sufficient conditions of remark 2 (R2).

    Args:
        loss: `loss(z, y) -> scalar` for two vectors `[n]`, twice differentiable.
        n: number of outputs.
        key: random key; a fixed one when omitted.
        samples: pairs drawn with `z != y`; as many are drawn with `z = y`.
        scale: standard deviation of the outputs drawn; use the scale of your model's outputs.

    Raises:
        ValueError: `n`, `samples` or `scale` is not positive.
        TypeError: 64-bit types are off.
    """
    if n < 1 or samples < 1 or scale <= 0:
        raise ValueError(f"n, samples and scale must be positive, got {n}, {samples} and {scale}")
    if jnp.asarray(0.0).dtype != jnp.float64:
        raise TypeError("the conditions need float64, got float32: wrap the call in `with jax.enable_x64(True):`")
    keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
    y = scale * jax.random.normal(keys[0], (samples, n))
    z = scale * jax.random.normal(keys[1], (samples, n))
    nudges = 1e-3 * scale * jax.random.normal(keys[2], (samples, n))
    findings = jax.jit(lambda *points: _findings(loss, *points))(y, z, nudges)
    return LossReport(tuple(_verdict(name, finding) for name, finding in zip(NAMES, findings, strict=True)))


def _findings(loss: Loss, y: Array, z: Array, nudges: Array) -> tuple[Finding, ...]:
    """Measure all three conditions, (i) at `z = y` and the others at as many pairs again with `z != y`."""
    pairs = jnp.concatenate([y, z]), jnp.concatenate([y, y])
    matrices = jax.vmap(lambda a, b: mixed_matrix(loss, a, b))(*pairs)
    return _minimum(loss, y, nudges), _positive(matrices, *pairs), _null_space(loss, matrices, *pairs)


def _minimum(loss: Loss, y: Array, nudges: Array) -> Finding:
    """Measure (i) at `z = y`: the gradient, the smallest eigenvalue of the Hessian, and a nudge off the minimum."""
    gradient, hessian = jax.grad(loss), jax.hessian(loss)
    away = jax.vmap(gradient)(y + nudges, y)
    size = jnp.max(jnp.linalg.norm(away, axis=1) / jnp.linalg.norm(nudges, axis=1)) + 1e-300
    flat = jnp.linalg.norm(jax.vmap(gradient)(y, y), axis=1) / size
    dip = -jnp.linalg.eigvalsh(jax.vmap(hessian)(y, y))[:, 0] / size
    rise = jax.vmap(loss)(y + nudges, y) - jax.vmap(loss)(y, y)
    roundoff = 1e-13 * (1 + jnp.abs(jax.vmap(loss)(y, y)))
    drop = jnp.maximum(-rise - roundoff, 0) / (size * jnp.sum(nudges**2, axis=1))
    return Finding(jnp.maximum(jnp.maximum(flat, dip), drop), {"z": y, "y": y})


def _positive(matrices: Array, z: Array, y: Array) -> Finding:
    """Measure (ii): asymmetry, and the smallest eigenvalue of the symmetric part."""
    size = jnp.max(jnp.abs(matrices)) + 1e-300
    flipped = jnp.swapaxes(matrices, 1, 2)
    skew = jnp.max(jnp.abs(matrices - flipped), axis=(1, 2)) / size
    values, vectors = jnp.linalg.eigh((matrices + flipped) / 2)
    violation = jnp.maximum(skew, -values[:, 0] / size)
    return Finding(violation, {"z": z, "y": y, "v": vectors[:, :, 0], "vMv": values[:, 0]})


def _null_space(loss: Loss, matrices: Array, z: Array, y: Array) -> Finding:
    """Measure (iii): what one `M` kills, all of them must kill, and the gradient there must be orthogonal to it."""
    _, sizes, rows = jnp.linalg.svd(matrices)
    vectors = jnp.swapaxes(rows, 1, 2)  # columns are right singular vectors, null ones last
    largest = jnp.max(sizes) + 1e-300
    # where M is zero beside the others it kills every direction: such a point is measured against the largest M of all
    null = sizes <= NULL * jnp.maximum(sizes[:, :1], NULL * largest)
    scaled = matrices / largest
    together = jnp.einsum("lab,lac->bc", scaled, scaled) / len(matrices)  # the mean of M'M: kills what all M kill
    moved = jnp.sqrt(jnp.abs(jnp.einsum("kbj,bc,kcj->kj", vectors, together, vectors)))
    gradients = jax.vmap(jax.grad(loss))(z, y)
    tilt = jnp.abs(jnp.einsum("ki,kij->kj", gradients, vectors)) / (jnp.max(jnp.abs(gradients)) + 1e-300)
    violation = jnp.where(null, jnp.maximum(moved, tilt), 0)
    column = jnp.argmax(violation, axis=1)
    worst = jnp.take_along_axis(vectors, column[:, None, None], axis=2)[:, :, 0]
    return Finding(jnp.max(violation, axis=1), {"z": z, "y": y, "v": worst})


def _verdict(name: str, finding: Finding) -> Condition:
    """Return the condition's verdict at its worst sample; a violation that is not a number counts as one."""
    violation = jnp.where(jnp.isnan(finding.violation), jnp.inf, finding.violation)
    worst = int(jnp.argmax(violation))
    found = float(violation[worst])
    holds = found <= TOLERANCE
    witness = {} if holds else {key: value[worst].tolist() for key, value in finding.points.items()}
    return Condition(name, holds, found, witness)
