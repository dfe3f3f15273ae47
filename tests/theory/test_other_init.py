"""Why another init points away: the mean inner product of linear models, and of the output bias (R1)."""

import jax.numpy as jnp
import numpy as np
import pytest

from theory import SquaredError, student_step, teacher_direction

UNIT = SquaredError(jnp.ones(2))


def _linear(p, x):
    return jnp.einsum("bip,p->bi", x, p)


@pytest.mark.parametrize("common", [0.0, 2.0])
def test_r1_linear_students_of_other_inits_point_away_by_the_trace(common):
    """`E <dS(0), d> = -sigma^2 tr(G H)`, whatever the targets and the inits' common mean; one draw by the code."""
    rng = np.random.default_rng(0)
    sigma, seen, shown, target = 0.5, *(rng.normal(size=(3, 2, 4)) for _ in range(2)), rng.normal(size=(3, 2))
    gram, hessian = (2 * np.einsum("bip,biq->pq", x, x) / 3 for x in (seen, shown))
    theta, student = common + sigma * rng.normal(size=(2, 40_000, 4))
    directions = 2 * np.einsum("bip,bi->p", shown, target) / 3 - theta @ hessian
    products = np.sum(-((student - theta) @ gram) * directions, axis=1)
    expected = -(sigma**2) * np.trace(gram @ hessian)
    assert expected < 0
    assert abs(products.mean() - expected) < 4 * products.std() / 200
    trait = lambda p: jnp.mean(jnp.sum((_linear(p, jnp.asarray(shown)) - jnp.asarray(target)) ** 2, axis=1))  # noqa: E731
    own, other, x = (jnp.asarray(a) for a in (theta[0], student[0], seen))
    d = teacher_direction(trait, own)
    np.testing.assert_allclose(d, directions[0], rtol=1e-9)
    np.testing.assert_allclose(student_step(_linear, UNIT, own, d, x, 0.0, student=other) @ d, products[0], rtol=1e-9)


@pytest.mark.parametrize("sign", [-1, 1])
def test_r1_the_output_bias_moves_by_the_mean_outputs(sign):
    """A tanh layer: the bias's part of the product is `-4 E <m, m'>` for inits whose outputs have the mean 0.

    Below 0 where the student's and the teacher's inputs are alike; above it where mean outputs over them are opposed.
    """
    rng, draws = np.random.default_rng(1), 20_000
    seen, shown = rng.normal(size=(5, 3)) + 1, rng.normal(size=(4, 3)) - sign
    target = rng.normal(size=(4, 2))

    def mean_outputs(first, second, bias, x):
        return np.einsum("kbh,khi->ki", np.tanh(np.einsum("bn,knh->kbh", x, first)), second) / len(x) + bias

    inits = [[rng.normal(size=(draws, *shape)) for shape in ((3, 6), (6, 2), (2,))] for _ in range(2)]
    m, m_other = (mean_outputs(*init, seen) for init in inits)
    m_shown = mean_outputs(*inits[0], shown)
    products = np.sum(-2 * (m_other - m) * -2 * (m_shown - target.mean(axis=0)), axis=1)
    differences = products + 4 * np.sum(m * m_shown, axis=1)
    assert abs(differences.mean()) < 4 * differences.std() / np.sqrt(draws)
    assert sign * products.mean() > 4 * products.std() / np.sqrt(draws)
