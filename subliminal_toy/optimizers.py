"""The update rules that a `Training` can name, all from Optax."""

from collections.abc import Callable

import optax

from subliminal_toy.config import Training

_DIRECTIONS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,  # betas .9/.999, eps 1e-8
    "sgd": optax.identity,
    "momentum": lambda: optax.trace(decay=0.9),
    "rmsprop": lambda: optax.scale_by_rms(decay=0.9),
    "signsgd": optax.scale_by_sign,
}


def make_optimizer(training: Training) -> optax.GradientTransformation:
    """The Optax transformation for `training`.

    With gradient g, parameters w, learning rate lr, decay d and the rule's direction D:
    coupled decay steps by -lr D(g + d w), decoupled decay (AdamW) by -lr (D(g) + d w).
    """
    decay = optax.add_decayed_weights(training.weight_decay) if training.weight_decay else optax.identity()
    direction = _DIRECTIONS[training.optimizer]()
    order = (decay, direction) if training.decay == "coupled" else (direction, decay)
    return optax.chain(*order, optax.scale_by_learning_rate(training.learning_rate))
