"""The one-step theorem of subliminal learning as a checked certificate.

A teacher and a student start from the same parameters `theta`. The teacher moves to `theta + eps d`; the student takes
one gradient step `dS` towards the teacher's outputs on any inputs. Then `<dS, d> = eps A + O(eps^2)` with

    A = E_x[ (J d)' M (J d) ] >= 0,     J = df/dtheta,     M = -d2L/dz dy at z = y,

so the student moves towards the teacher in parameter space, whatever the teacher learned. This package measures every
quantity in that sentence, bounds the step size up to which it holds, and shows where it stops. It imports only JAX and
takes callables `apply(params, x)` and `loss(z, y)`. Statements and proofs: theory/README.md.
"""

from theory.activations import ACTIVATIONS, Activation
from theory.certificate import Certificate, Observation, certify, descent_map, observe
from theory.conditions import Condition, LossReport, check_imitation_loss, check_loss_at
from theory.coverage import Recovered, linearised, recovered_fraction
from theory.descent import MLPTeacher
from theory.losses import (
    KullbackLeibler,
    RayBound,
    SoftmaxCrossEntropy,
    SquaredError,
    kl_divergence,
    softmax_cross_entropy,
    squared_error,
)
from theory.mlp import Layer, init_mlp, mlp
from theory.multi_step import leading_inner_product, student_displacement
from theory.one_step import (
    Ray,
    gauss_newton_product,
    imitation_step,
    inner_product,
    leading_coefficient,
    ray,
    ray_inner_product,
    student_step,
    teacher_direction,
)
from theory.radius import (
    estimated_ray_bound,
    guaranteed_radius,
    inner_product_curve,
    marched_radius,
    mlp_ray_bound,
)
from theory.random_problems import Problem, ProblemShape, Row, random_problem, study, study_many

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Certificate",
    "Condition",
    "KullbackLeibler",
    "Layer",
    "LossReport",
    "MLPTeacher",
    "Observation",
    "Problem",
    "ProblemShape",
    "Ray",
    "RayBound",
    "Recovered",
    "Row",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "certify",
    "check_imitation_loss",
    "check_loss_at",
    "descent_map",
    "estimated_ray_bound",
    "gauss_newton_product",
    "guaranteed_radius",
    "imitation_step",
    "init_mlp",
    "inner_product",
    "inner_product_curve",
    "kl_divergence",
    "leading_coefficient",
    "leading_inner_product",
    "linearised",
    "marched_radius",
    "mlp",
    "mlp_ray_bound",
    "observe",
    "random_problem",
    "ray",
    "ray_inner_product",
    "recovered_fraction",
    "softmax_cross_entropy",
    "squared_error",
    "student_displacement",
    "student_step",
    "study",
    "study_many",
    "teacher_direction",
]
