"""A phase of training: what a `Training` says, done by the engine."""

from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.config import Training
from subliminal_toy.optimizers import make_optimizer


def make_phase(loss: engine.Loss, training: Training, examples: int, *, mesh: Mesh, name: str) -> engine.Train:
    """`engine.make_train` with the optimizer, batches and epochs of `training` on a data set of so many examples."""
    return engine.make_train(
        loss, make_optimizer(training, examples), batch_size=training.batch_size, epochs=training.epochs, mesh=mesh,
        name=name,
    )  # fmt: skip
