"""Multi-layer perceptrons, and rigorous enclosures of their outputs along the teacher's ray (statement B3).

    a_0 = x,   s_k = a_{k-1} W_k + b_k,   a_k = g(s_k),   output = s_depth       (no activation on the last layer)

Parameters are a sequence of `(W, b)` pairs, `W` of shape `[n_in, n_out]`, `b` of shape `[n_out]`. On the ray every
parameter is affine in `t`: `W(t) = W + t D`, `b(t) = b + t e`. Differentiating the layer in `t`,

    s   = a W(t) + b(t)
    s'  = a' W(t) + a D + e
    s'' = a'' W(t) + 2 a' D
    g(s)' = g'(s) s',     g(s)'' = g''(s) s'^2 + g'(s) s''.

`output_jet` runs these lines in interval arithmetic over `t` in `[start, stop]`, and after every line narrows the value
and the first derivative with the mean value theorem: `s(t)` lies in `s(start) + [0, stop - start] s'`. As
`stop -> start` the enclosures shrink to the exact derivatives.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.activations import Activation
from theory.intervals import Interval, add, drift, intersect, matmul, matmul_exact, multiply, point, square
from theory.losses import Jet
from theory.one_step import Apply
from theory.trees import Tree


class Layer(NamedTuple):
    """One affine layer: `weight` `[n_in, n_out]` and `bias` `[n_out]`."""

    weight: Array
    bias: Array


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


def output_jet(
    activation: Activation, params: Tree, direction: Tree, inputs: Array, start: Array | float, stop: Array | float
) -> Jet:
    """Enclose the outputs and their first two derivatives in `t` over `[start, stop]`, each `[batch, n_out]`."""
    width = jnp.asarray(stop - start)
    here = _first_layer(params[0], direction[0], inputs, start)
    cell = Jet(drift(point(here.value), width, point(here.first)), point(here.first), point(jnp.zeros_like(here.first)))
    for (weight, bias), (d_weight, d_bias) in zip(params[1:], direction[1:], strict=True):
        layer, rate = Layer(weight, bias), Layer(d_weight, d_bias)
        here = _push(activation, here)
        cell = _narrow(_activate(activation, cell), here, width)
        here = _move(here, _at(layer, rate, start), rate)
        cell = _narrow(_affine(cell, _cell_layer(layer, rate, start, stop), rate), here, width)
    return cell


class Exact(NamedTuple):
    """The exact value and first derivative in `t` at the left end of a stretch, `[batch, n]`."""

    value: Array
    first: Array


def _at(layer: Layer, rate: Layer, t: Array | float) -> Layer:
    """Return the layer at `t` on the ray."""
    return Layer(*(p + t * d for p, d in zip(layer, rate, strict=True)))


def _first_layer(layer: Layer, rate: Layer, inputs: Array, t: Array | float) -> Exact:
    """Return `x W(t) + b(t)` and its derivative `x D + e`: the first layer is affine in `t`, so this is all of it."""
    (weight, bias), (d_weight, d_bias) = _at(Layer(*layer), Layer(*rate), t), rate
    return Exact(inputs @ weight + bias[None, :], inputs @ d_weight + d_bias[None, :])


def _move(exact: Exact, layer: Layer, rate: Layer) -> Exact:
    """Push an exact pair through a layer that moves at `rate`."""
    value = exact.value @ layer.weight + layer.bias[None, :]
    return Exact(value, exact.first @ layer.weight + exact.value @ rate.weight + rate.bias[None, :])


def _push(activation: Activation, exact: Exact) -> Exact:
    """Push an exact pair through the activation."""
    return Exact(activation(exact.value), activation.derivatives[1](exact.value) * exact.first)


def _cell_layer(layer: Layer, rate: Layer, start: Array | float, stop: Array | float) -> tuple[Interval, Interval]:
    """Enclose `W + t D` and `b + t e` for `t` in `[start, stop]`."""
    ends = [(p + start * d, p + stop * d) for p, d in zip(layer, rate, strict=True)]
    weight, bias = (Interval(jnp.minimum(*end), jnp.maximum(*end)) for end in ends)
    return weight, bias


def _affine(jet: Jet, layer: tuple[Interval, Interval], rate: Layer) -> Jet:
    """Push a jet `[batch, n_in]` through one affine layer whose parameters move at `rate`."""
    weight, bias = layer
    value = matmul(jet.value, weight)
    first = add(matmul(jet.first, weight), matmul_exact(jet.value, rate.weight))
    turn = matmul_exact(jet.first, rate.weight)
    second = add(matmul(jet.second, weight), Interval(2 * turn.lo, 2 * turn.hi))
    return Jet(
        Interval(value.lo + bias.lo[None, :], value.hi + bias.hi[None, :]),
        Interval(first.lo + rate.bias[None, :], first.hi + rate.bias[None, :]),
        second,
    )


def _activate(activation: Activation, jet: Jet) -> Jet:
    """Push a jet through the activation by the chain rule."""
    g, dg, ddg = (activation.range(order, jet.value) for order in range(3))
    bend = add(multiply(ddg, square(jet.first)), multiply(dg, jet.second))
    return Jet(g, multiply(dg, jet.first), bend)


def _narrow(cell: Jet, here: Exact, width: Array) -> Jet:
    """Intersect a cell's jet with what the mean value theorem allows, starting from the exact pair at its left end."""
    first = intersect(cell.first, drift(point(here.first), width, cell.second))
    value = intersect(cell.value, drift(point(here.value), width, first))
    return Jet(value, first, cell.second)
