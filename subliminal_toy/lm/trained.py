"""What `train` returns: the models of some runs with all that they come from."""

from typing import NamedTuple

import jax
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys
from subliminal_toy.lm.plan import Name, Plan
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import Params

Models = dict[Name, Params]  # leaves [runs, ...]
Sampled = dict[Name, list[Rows]]  # one element per run


class Trained(NamedTuple):
    """All models of some runs, with their settings, plan, keys and data."""

    config: LMConfig
    plan: Plan
    keys: RunKeys
    language: corpus.Language  # [runs, ...]
    fresh: jax.Array  # [runs, n, T] documents that no base is trained on
    models: Params  # [runs, models, ...], in the order of Plan.models
    rows: Sampled  # of each source, filtered
    checkpoints: Models  # of students with recipe.checkpoints, leaves [runs, epochs, ...]

    def __repr__(self) -> str:
        """Name the models, without the arrays."""
        names = ", ".join(str(model) for model in self.plan.models())
        return f"<lm.Trained: {self.keys.init.shape[0]} runs of {names}>"

    def params(self, name: Name | str) -> Params:
        """Return the parameters of a model by its name, also as text, [runs, ...].

        ValueError for a model that is not in the plan.
        """
        known = [str(model) for model in self.plan.models()]
        if str(name) not in known:
            raise ValueError(f"there is no model '{name}'; these were trained: {', '.join(known)}")
        return engine.take_model(self.models, known.index(str(name)))

    @property
    def mesh(self) -> Mesh:
        """The devices that the runs are laid over."""
        return engine.mesh_for(self.keys.init.shape[0])
