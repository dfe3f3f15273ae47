"""Multi-layer perceptrons, and rigorous enclosures of their outputs along the teacher's ray (statement B3).

    a_0 = x,   s_k = a_{k-1} W_k + b_k,   a_k = g(s_k),   output = s_depth       (no activation on the last layer)

Parameters are a sequence of `(W, b)` pairs, `W` of shape `[n_in, n_out]`, `b` of shape `[n_out]`. On the ray every
parameter is affine in `t`: `W(t) = W + t D`, `b(t) = b + t e`. Differentiating the layer in `t`,

    s   = a W(t) + b(t)
    s'  = a' W(t) + a D + e
    s'' = a'' W(t) + 2 a' D
    g(s)' = g'(s) s',     g(s)'' = g''(s) s'^2 + g'(s) s''.

`output_jets` runs these lines in interval arithmetic over `t` in `[start, stop]`, and after each narrows the value
and the first derivative with the mean value theorem: `s(t)` lies in `s(start) + [0, stop - start] s'`, with `s(start)`
enclosed the same way. As `stop -> start` the enclosures shrink to the exact derivatives, up to rounding.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.activations import Activation
from theory.intervals import Interval, add, drift, intersect, matmul, moved, multiply, point, square
from theory.losses import Jet
from theory.one_step import Apply
from theory.trees import Tree


class Layer(NamedTuple):
    """One affine layer: `weight` `[n_in, n_out]` and `bias` `[n_out]`."""

    weight: Array
    bias: Array


class Box(NamedTuple):
    """All layers between two: `weight` `[n_in, n_out]` and `bias` `[n_out]`."""

    weight: Interval
    bias: Interval


def init_mlp(widths: Sequence[int], *, key: Array, scale: float = 1.0, bias_scale: float = 0.5) -> tuple[Layer, ...]:
    """Draw layers with `W ~ scale N(0, 1/n_in)` and `b ~ bias_scale N(0, 1)`.

    Raises:
        ValueError: fewer than two widths, or a width below 1.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths must be at least two positive sizes, got {tuple(widths)}")
    shapes = list(itertools.pairwise(widths))
    drawn = jax.random.normal(key, (sum(n * m + m for n, m in shapes),))  # all at once: a draw takes long to compile
    layers = []
    for n, m in shapes:
        weight, bias, drawn = drawn[: n * m], drawn[n * m : n * m + m], drawn[n * m + m :]
        layers.append(Layer(weight.reshape(n, m) * (scale / n**0.5), bias * bias_scale))
    return tuple(layers)


def mlp(activation: Activation) -> Apply:
    """Return `apply(params, x)` with `x` of shape `[batch, n_in]` and outputs `[batch, n_out]`."""

    def apply(params: Tree, x: Array) -> Array:
        hidden = x
        for depth, (weight, bias) in enumerate(params):
            hidden = (activation(hidden) if depth else hidden) @ weight + bias[None, :]
        return hidden

    return apply


def output_jets(
    activation: Activation, params: Tree, direction: Tree, inputs: Array, start: Array | float, stop: Array | float
) -> Jet:
    """Enclose the outputs and two derivatives in `t`, `[2, batch, n_out]`: at `start`, and over `[start, stop]`.

    The direction holds arrays, or intervals: then the enclosure is good for every direction inside them.
    """
    inputs = inputs.astype(jnp.result_type(*jax.tree.leaves(params)))
    begin, end = jnp.asarray(start, inputs.dtype), jnp.asarray(stop, inputs.dtype)
    stretches = point(begin), Interval(begin, end)
    width = (end - begin) * (1 + 4 * jnp.finfo(inputs.dtype).eps)
    rates = [Box(*(d if isinstance(d, Interval) else point(d) for d in layer)) for layer in direction]
    here, cell = _first_layer(params[0], rates[0], inputs, stretches)
    for layer, rate in zip(params[1:], rates[1:], strict=True):
        here, cell = (_activate(activation, jet) for jet in (here, cell))
        cell = _narrow(here, cell, width)
        here, cell = (_affine(jet, Layer(*layer), rate, s) for jet, s in zip((here, cell), stretches, strict=True))
        cell = _narrow(here, cell, width)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), here, cell)


def with_row(a: Interval, row: Interval) -> Interval:
    """Enclose `a + row` for shapes `[m, n]` and `[n]`."""
    return add(a, Interval(row.lo[None, :], row.hi[None, :]))


def _first_layer(layer: Layer, rate: Box, inputs: Array, stretches: tuple[Interval, Interval]) -> list[Jet]:
    """Enclose `x W(t) + b(t)` and its derivative `x D + e` over both stretches; the second derivative is zero."""
    (weight, bias), x = layer, point(inputs)
    first = with_row(matmul(x, rate.weight), rate.bias)
    start = with_row(matmul(x, point(weight)), point(bias))
    zero = point(jnp.zeros_like(first.lo))
    return [Jet(moved(start, first, stretch), first, zero) for stretch in stretches]


def _affine(jet: Jet, layer: Layer, rate: Box, stretch: Interval) -> Jet:
    """Push a jet `[batch, n_in]` through one affine layer whose parameters move at `rate`."""
    weight, bias = (moved(point(p), d, stretch) for p, d in zip(layer, rate, strict=True))
    turn = matmul(jet.first, rate.weight)
    return Jet(
        with_row(matmul(jet.value, weight), bias),
        with_row(add(matmul(jet.first, weight), matmul(jet.value, rate.weight)), rate.bias),
        add(matmul(jet.second, weight), Interval(2 * turn.lo, 2 * turn.hi)),
    )


def _activate(activation: Activation, jet: Jet) -> Jet:
    """Push a jet through the activation by the chain rule."""
    g, dg, ddg = (activation.range(order, jet.value) for order in range(3))
    bend = add(multiply(ddg, square(jet.first)), multiply(dg, jet.second))
    return Jet(g, multiply(dg, jet.first), bend)


def _narrow(here: Jet, cell: Jet, width: Array) -> Jet:
    """Intersect a cell's jet with what the mean value theorem allows, starting from the jet at its left end."""
    first = intersect(cell.first, drift(here.first, width, cell.second))
    return cell._replace(value=intersect(cell.value, drift(here.value, width, first)), first=first)
