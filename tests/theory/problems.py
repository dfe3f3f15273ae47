"""Cases shared by the theory tests: few static shapes (each compiles once), everything else drawn.

Each case fixes an architecture, an activation, the inputs' distribution, the teacher's kind and the kind of loss;
seeds, loss weights (zeros included), temperatures and steps `2**-k` are what Hypothesis draws.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from hypothesis import settings
from hypothesis import strategies as st

from tests.theory.conftest import PROFILE
from theory import (
    KullbackLeibler,
    ProblemShape,
    SoftmaxCrossEntropy,
    SquaredError,
    guaranteed_radius,
    inner_product_curve,
    marched_radius,
    mlp,
    mlp_ray_bound,
    observe,
    random_problem,
)
from theory.mlp import output_jets

EPS = tuple(2.0**-k for k in range(16, 5, -1))
WEIGHTS = ((1.0, 1.0, 1.0, 1.0, 1.0), (0.0, 2.0, 0.5, 0.0, 3.0), (0.0, 1.0, 0.0, 0.0, 0.0))
fixed = settings(settings.get_profile(PROFILE))
few = settings(fixed, max_examples=8)


class Case(NamedTuple):
    """A static shape with a kind of loss; `subset` restricts a softmax to those logits."""

    shape: ProblemShape
    kind: str
    subset: tuple[int, ...] | None = None


CASES = (
    Case(ProblemShape((4, 6, 3), "tanh", 8, "uniform", "teacher"), "squared"),
    Case(ProblemShape((3, 5, 5, 4), "gelu", 5, "normal", "random"), "entropy"),
    Case(ProblemShape((2, 7, 3), "softplus", 6, "uniform", "decay"), "kl"),
    Case(ProblemShape((5, 4, 4), "sigmoid", 7, "binary", "teacher"), "entropy", (1, 3)),
    Case(ProblemShape((3, 4, 4, 2), "sin", 4, "normal", "teacher"), "squared"),
    Case(ProblemShape((6, 9, 5), "tanh", 3, "binary", "random"), "kl", (0, 2, 4)),
)

# bounds compile slowly: two smooth cases, one of them deep and one of a softmax over some logits; ReLU apart
RADIUS_CASES = (CASES[4], CASES[3]._replace(kind="kl"))


def make_loss(case: Case, weights: int, temperature: float) -> Any:
    """Return the case's loss with drawn weights or temperature, as traced leaves so that nothing recompiles."""
    if case.kind == "squared":
        return SquaredError(jnp.asarray(WEIGHTS[weights][: case.shape.widths[-1]], dtype=float))
    kind = SoftmaxCrossEntropy if case.kind == "entropy" else KullbackLeibler
    return kind(jnp.asarray(temperature, dtype=float), case.subset)


@partial(jax.jit, static_argnums=0)
def problem(shape: ProblemShape, seed: int) -> Any:
    """One random problem of that shape (the rbg generator: it compiles in a fraction of the default's time)."""
    return random_problem(shape, key=jax.random.key(seed, impl="unsafe_rbg"))


@partial(jax.jit, static_argnums=0)
def observed(shape: ProblemShape, loss: Any, drawn: Any) -> Any:
    """What the certificate measures on the grid `EPS`."""
    return observe(mlp(shape.hidden), loss, *drawn, jnp.asarray(EPS))


@partial(jax.jit, static_argnums=0)
def radii(shape: ProblemShape, loss: Any, drawn: Any) -> Any:
    """The guaranteed and the marched radius, and 32 inner products evenly spread over the marched one."""
    apply = mlp(shape.hidden)
    bound, curve = mlp_ray_bound(shape.hidden, loss, *drawn), inner_product_curve(apply, loss, *drawn)
    single = guaranteed_radius(bound)
    marched = marched_radius(bound, single, cells=16)
    return single, marched, jax.lax.map(curve, marched * jnp.linspace(1 / 32, 1.0, 32))


@partial(jax.jit, static_argnums=0)
def enclosed(shape: ProblemShape, loss: Any, drawn: Any, start: float, stop: float) -> Any:
    """The enclosures over a stretch, and values and derivatives at nine of its points by nested jvp."""
    apply = mlp(shape.hidden)
    points = start + (stop - start) * jnp.linspace(0.0, 1.0, 9)
    curve = lambda t: apply(jax.tree.map(lambda p, d: p + t * d, *drawn[:2]), drawn.inputs)  # noqa: E731
    first = lambda t: jax.jvp(curve, (t,), (jnp.ones_like(t),))[1]  # noqa: E731
    second = lambda t: jax.jvp(first, (t,), (jnp.ones_like(t),))[1]  # noqa: E731
    exact = tuple(jax.vmap(g)(points) for g in (curve, first, second))
    phi = inner_product_curve(apply, loss, *drawn)
    slopes = tuple(jax.vmap(g)(points) for g in (jax.grad(phi), jax.grad(jax.grad(phi))))
    jet = jax.tree.map(lambda leaf: leaf[1], output_jets(shape.hidden, *drawn, start, stop))
    bound = mlp_ray_bound(shape.hidden, loss, *drawn)(start, stop)
    ends = (phi(points[0]), slopes[0][0], *slopes)
    return jet, exact, bound, ends


def model(case: Case) -> Any:
    """The case's `apply`."""
    return mlp(case.shape.hidden)


seeds = st.integers(0, 2**31 - 1)
cases = st.sampled_from(CASES)
core_cases = st.sampled_from(CASES[:3])
radius_cases = st.sampled_from(RADIUS_CASES)
weight_sets = st.integers(0, len(WEIGHTS) - 1)
temperatures = st.sampled_from((0.5, 1.0, 3.0))
steps = st.integers(6, 16).map(lambda k: 2.0**-k)
