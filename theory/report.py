"""The report of `certify`: its numbers, what follows from them, and its text (L1, L2, T1, B1, S2)."""

from dataclasses import asdict, dataclass
from typing import Any

from theory.conditions import LossReport
from theory.radius import is_saturated


@dataclass(frozen=True)
class Certificate:
    """The report of `certify`; `None` where something was not asked for or never happens on the grid.

    Attributes:
        parameters: number of scalar parameters.
        samples: number of output vectors in the batch.
        leading_coefficient: `A`.
        vacuous: whether `A` and all of `phi` are zero up to round-off (the degenerate branch, T2).
        eps: the grid, ascending.
        inner_products: `phi(eps)`.
        cosines: cosine of the student's step to the teacher's direction.
        remainder_slope: fitted order of `phi(eps) - eps A`; None if that is round-off.
        remainder_points: grid points in that fit.
        first_negative_eps: where the sign first fails on the grid.
        alphas: the student's learning rates, ascending; empty without a teacher loss.
        descent: change of the teacher's loss, one row per eps, one column per alpha.
        first_ascent_alpha: for each eps, the first alpha at which the teacher's loss rises.
        certified_alpha: for each eps, an alpha below which the descent is *proved* for all steps up to that eps and
            alphas up to that alpha (S2), 0 where it is not; empty unless `teacher_loss` is an `MLPTeacher`.
        ascents_within_box: grid points inside that region where the teacher's loss rises; 0 unless something is wrong.
        guaranteed_radius: `phi >= 0` is proved up to here (B1, B2); None without a ray bound, 0 if `A` is so small
            (saturated softmaxes) that nothing is proved.
        estimated: whether that bound only samples (`estimated_ray_bound`), so that nothing is proved.
        negative_within_radius: grid points inside the radius with a negative product; 0 unless something is wrong.
        conditions: the check of the imitation loss (R2).
    """

    parameters: int
    samples: int
    leading_coefficient: float
    vacuous: bool
    eps: tuple[float, ...]
    inner_products: tuple[float, ...]
    cosines: tuple[float, ...]
    remainder_slope: float | None
    remainder_points: int
    first_negative_eps: float | None
    alphas: tuple[float, ...]
    descent: tuple[tuple[float, ...], ...]
    first_ascent_alpha: tuple[float | None, ...]
    certified_alpha: tuple[float, ...]
    ascents_within_box: int
    guaranteed_radius: float | None
    estimated: bool
    negative_within_radius: int
    conditions: LossReport

    @property
    def assumptions_hold(self) -> bool:
        """Whether L1, T1 and T2 stand: the loss passed its conditions, and nothing else was seen to fail."""
        return self.conditions.holds and not self.refuted

    @property
    def refuted(self) -> tuple[str, ...]:
        """Statements that the measured remainder refutes: some hypothesis on smoothness does not hold here."""
        if self.remainder_slope is None or self.remainder_slope > 1.75:
            return ()
        return ("L2",) if self.remainder_slope > 1.25 else ("L1", "L2", "T1")

    @property
    def lost(self) -> tuple[str, ...]:
        """The statements that do not stand here."""
        return tuple(dict.fromkeys((*self.conditions.lost, *self.refuted)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return asdict(self) | {
            "conditions": self.conditions.to_dict(),
            "assumptions_hold": self.assumptions_hold,
            "lost": list(self.lost),
        }

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _box(c: Certificate) -> str:
    """Return the certified box with the largest `eps alpha` as text."""
    if not c.certified_alpha:
        return "not asked for (teacher_loss is no MLPTeacher)"
    alpha, eps = max(zip(c.certified_alpha, c.eps, strict=True), key=lambda pair: pair[0] * pair[1])
    return f"eps <= {eps:.4g} and alpha <= {alpha:.4g}" if alpha else "nothing proved on this grid"


def _doubt(c: Certificate) -> str:
    """Return how often the sign failed inside the radius, loudly if it did."""
    if not c.negative_within_radius:
        return "negative within radius   0"
    why = "the estimate is wrong" if c.estimated else "the bound is not of this model, or is no bound"
    return f"NEGATIVE WITHIN RADIUS   {c.negative_within_radius}: {why}"


def _lines(c: Certificate) -> list[str]:
    """Return the lines of the printed report."""
    slope = "round-off" if c.remainder_slope is None else f"order {c.remainder_slope:.3f} ({c.remainder_points} points)"
    sign = "never on this grid" if c.first_negative_eps is None else f"eps = {c.first_negative_eps:.4g}"
    radius = "not asked for (no ray bound)" if c.guaranteed_radius is None else f"eps <= {c.guaranteed_radius:.4g}"
    found = [(a, e) for a, e in zip(c.first_ascent_alpha, c.eps, strict=True) if a is not None] if c.alphas else []
    ascent = "no teacher loss given" if not c.alphas else "never on this grid"
    if found:
        ascent = "alpha = {:.4g} at its earliest, at eps = {:.4g}".format(*min(found))
    if c.guaranteed_radius is not None and is_saturated(c.leading_coefficient, c.vacuous):
        radius = "nothing: A is below 2^-500 (saturated softmaxes)"
    failed = (
        "hold" if c.assumptions_hold else "FAIL: " + ", ".join((*c.conditions.failed, *["smooth"] * bool(c.refuted)))
    )
    label = "estimated (no proof)    " if c.estimated else "guaranteed non-negative "
    return [
        f"one-step theorem: {c.parameters} parameters, {c.samples} samples",
        f"  leading coefficient A    {c.leading_coefficient:.6g}" + (" (vacuous: zero up to round-off)" * c.vacuous),
        f"  remainder phi - eps A    {slope}",
        f"  cosine at smallest eps   {c.cosines[0]:.4g}",
        f"  inner product negative   {sign}",
        f"  teacher's loss rises     {ascent}",
        f"  descent certified        {_box(c)}",
        *[f"  ASCENTS WITHIN THE BOX   {c.ascents_within_box}: please report this"] * bool(c.ascents_within_box),
        f"  {label} {radius}",
        f"  {_doubt(c)}",
        f"  assumptions              {failed}",
        f"  statements lost          {', '.join(c.lost) or 'none'}",
    ]
