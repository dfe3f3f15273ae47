"""Exact rational arithmetic on a small polynomial network: `A` as a fraction, no rounding (statement E3).

With square activations and rational parameters the output on the teacher's ray is a polynomial in `eps` with rational
coefficients, hence so is the inner product:

    phi(eps) = <dS(eps), d> = A eps + c_2 eps^2 + c_3 eps^3 + ...      (coefficients lowest first, c_0 = 0)

It is computed by its definition in parameter space: the gradient of each output in each parameter is the linear
coefficient of the output along that parameter's axis. Nothing here uses JAX or floating point.
"""

from collections.abc import Sequence
from fractions import Fraction

Polynomial = tuple[Fraction, ...]
Vector = tuple[Fraction, ...]
Net = tuple[tuple[tuple[Vector, ...], Vector], ...]  # layers of (weight rows [n_in][n_out], bias [n_out])


def poly_add(a: Polynomial, b: Polynomial) -> Polynomial:
    """Return `a + b`."""
    size = max(len(a), len(b))
    return tuple((a[k] if k < len(a) else Fraction(0)) + (b[k] if k < len(b) else Fraction(0)) for k in range(size))


def poly_multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    """Return `a * b`."""
    out = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return tuple(out)


def evaluate(a: Polynomial, t: Fraction) -> Fraction:
    """Return `a(t)`."""
    return sum((c * t**k for k, c in enumerate(a)), start=Fraction(0))


def outputs_on_ray(net: Net, rate: Net, x: Vector) -> tuple[Polynomial, ...]:
    """Return each output of `net + t rate` at the input `x` as a polynomial in `t`; square activations."""
    hidden: tuple[Polynomial, ...] = tuple((value,) for value in x)
    for depth, ((weight, bias), (d_weight, d_bias)) in enumerate(zip(net, rate, strict=True)):
        if depth:
            hidden = tuple(poly_multiply(h, h) for h in hidden)
        sums = [(b, e) for b, e in zip(bias, d_bias, strict=True)]
        hidden = tuple(_affine(hidden, weight, d_weight, start, column) for column, start in enumerate(sums))
    return hidden


def _affine(
    hidden: tuple[Polynomial, ...],
    weight: tuple[Vector, ...],
    d_weight: tuple[Vector, ...],
    bias: Polynomial,
    column: int,
) -> Polynomial:
    out = bias
    for h, row, d_row in zip(hidden, weight, d_weight, strict=True):
        out = poly_add(out, poly_multiply(h, (row[column], d_row[column])))
    return out


def flatten(net: Net) -> Vector:
    """Return all parameters in a fixed order: per layer, weight rows and then the bias."""
    return tuple(value for weight, bias in net for part in (*weight, bias) for value in part)


def unflatten(like: Net, values: Sequence[Fraction]) -> Net:
    """Return `values` arranged like the net `like`."""
    rest = iter(values)

    def take(part: Vector) -> Vector:
        return tuple(next(rest) for _ in part)

    return tuple((tuple(take(row) for row in weight), take(bias)) for weight, bias in like)


def output_gradients(net: Net, x: Vector) -> tuple[Vector, ...]:
    """Return `df_i / dtheta_p` as one vector over parameters `p` for each output `i`."""
    size = len(flatten(net))
    columns = []
    for p in range(size):
        axis = unflatten(net, [Fraction(int(q == p)) for q in range(size)])
        columns.append([_coefficient(y, 1) for y in outputs_on_ray(net, axis, x)])
    return tuple(zip(*columns, strict=True))


def _coefficient(a: Polynomial, k: int) -> Fraction:
    return a[k] if k < len(a) else Fraction(0)


def exact_inner_product(net: Net, rate: Net, inputs: Sequence[Vector], weights: Vector) -> Polynomial:
    """Return `phi(eps)` for the imitation loss `sum_i w_i (z_i - y_i)^2`, exactly (E3).

    Args:
        net: rational parameters, square activations.
        rate: the teacher's direction.
        inputs: the student's batch.
        weights: `w_i >= 0`, one per output.
    """
    d = flatten(rate)
    phi: Polynomial = (Fraction(0),)
    for x in inputs:
        curves = outputs_on_ray(net, rate, x)
        for weight, curve, gradient in zip(weights, curves, output_gradients(net, x), strict=True):
            change: Polynomial = (Fraction(0), *curve[1:])  # y(eps) - z
            lever = sum((g * v for g, v in zip(gradient, d, strict=True)), start=Fraction(0))
            phi = poly_add(phi, poly_multiply(change, (2 * weight * lever / len(inputs),)))
    return phi


def exact_leading_coefficient(net: Net, rate: Net, inputs: Sequence[Vector], weights: Vector) -> Fraction:
    """Return `A = E_x sum_i 2 w_i (J d)_i^2` as a fraction (E3)."""
    total = Fraction(0)
    for x in inputs:
        pushed = [_coefficient(curve, 1) for curve in outputs_on_ray(net, rate, x)]
        total += sum((2 * w * u * u for w, u in zip(weights, pushed, strict=True)), start=Fraction(0))
    return total / len(inputs)
