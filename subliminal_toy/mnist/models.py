"""The multi-layer perceptron as pure functions; no other module uses its Flax module.

f(x) = W_D relu(... relu(x W_0 + b_0) ...) + b_D, with `classes + aux_logits` outputs (P section 6.2). Parameters are
plain nested dicts, `{"hidden_0": {"kernel", "bias"}, ..., "head": {...}}`, float32; the head's first `classes` columns
are the class head, the others the auxiliary head.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from subliminal_toy.mnist.config import Config

Params = dict[str, dict[str, jax.Array]]

_KERNEL_INITS: dict[str, tuple[float, Any, Any]] = {  # variance factor, fan, distribution
    "lecun_normal": (1.0, "fan_in", "normal"),  # OFF: std 1/sqrt(fan_in), not truncated
    "he_normal": (2.0, "fan_in", "normal"),
    "glorot_normal": (1.0, "fan_avg", "normal"),
    "torch_default": (1.0 / 3.0, "fan_in", "uniform"),  # U(-1/sqrt(fan_in), 1/sqrt(fan_in))
}


class Model(NamedTuple):
    """A model as two pure functions."""

    init: Callable[[jax.Array], Params]  # key -> params
    apply: Callable[[Params, jax.Array], jax.Array]  # params, [batch, pixels] -> [batch, logits]


class MLP(linen.Module):
    """A ReLU perceptron with `depth` hidden layers of `width` units and `logits` outputs."""

    width: int
    depth: int
    logits: int
    init_scheme: str
    init_scale: float

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [batch, pixels] to logits [batch, logits]."""
        variance, fan, distribution = _KERNEL_INITS[self.init_scheme]
        kernel_init = jax.nn.initializers.variance_scaling(variance * self.init_scale**2, fan, distribution)
        for i, units in enumerate([self.width] * self.depth + [self.logits]):
            last = i == self.depth
            bias_init = functools.partial(_bias_init, self.init_scheme, self.init_scale, x.shape[-1])
            name = "head" if last else f"hidden_{i}"
            x = linen.Dense(units, kernel_init=kernel_init, bias_init=bias_init, name=name)(x)
            x = x if last else jax.nn.relu(x)
        return x


def _bias_init(scheme: str, scale: float, fan_in: int, key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> Any:
    """Return zeros, or PyTorch's default U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    if scheme != "torch_default":
        return jnp.zeros(shape, dtype)
    bound = scale / fan_in**0.5
    return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)


@functools.lru_cache(maxsize=64)  # the same functions are compiled once
def make_mlp(config: Config, pixels: int) -> Model:
    """Make the MLP of `config` for images of `pixels` pixels.

    Example:
        >>> import jax
        >>> model = make_mlp(Config(), 784)
        >>> sum(leaf.size for leaf in jax.tree.leaves(model.init(jax.random.key(0))))
        270093
    """
    net = MLP(config.width, config.depth, config.logits, config.init, config.init_scale)

    def init(key: jax.Array) -> Params:
        return net.init(key, jnp.zeros((1, pixels), jnp.float32))["params"]

    def apply(params: Params, x: jax.Array) -> jax.Array:
        logits = net.apply({"params": params}, x)
        assert isinstance(logits, jax.Array)  # no mutable collections, so apply returns logits only
        return logits

    return Model(init, apply)


def make_model(config: Config, pixels: int, given: Model | None = None) -> Model:
    """Return the given model, or the MLP; ValueError if it does not map images [n, pixels] to all logits."""
    if given is None:
        return make_mlp(config, pixels)
    images = jnp.zeros((2, pixels), jnp.float32)
    logits = jax.eval_shape(lambda key: given.apply(given.init(key), images), jax.random.key(0))
    if logits.shape != (2, config.logits):
        raise ValueError(f"the model maps 2 images to {logits.shape}; it must be (2, {config.logits})")
    return given


def mix_inits(reference: Params, other: Params, shared: tuple[str, ...], classes: int) -> Params:
    """Take layers named in `shared` from `reference`, the others from `other` (Config.shared_layers).

    The head is split by columns: the first `classes` are `class_head`, the rest `aux_head`.
    """
    mixed = {name: reference[name] if name in shared else other[name] for name in reference if name != "head"}
    column = jnp.arange(reference["head"]["bias"].shape[-1])
    from_reference = jnp.where(column < classes, "class_head" in shared, "aux_head" in shared)
    mixed["head"] = jax.tree.map(
        lambda ours, theirs: jnp.where(from_reference, ours, theirs), reference["head"], other["head"]
    )
    return mixed


def perturb(params: Params, std: float, *, key: jax.Array) -> Params:
    """Add N(0, (std / sqrt(fan_in))^2) to all weights; biases are unchanged."""

    def noisy(path: Any, leaf: jax.Array, leaf_key: jax.Array) -> jax.Array:
        if path[-1].key == "bias":
            return leaf
        return leaf + std / leaf.shape[0] ** 0.5 * jax.random.normal(leaf_key, leaf.shape, leaf.dtype)

    keys = jax.random.split(key, len(jax.tree.leaves(params)))
    return jax.tree_util.tree_map_with_path(noisy, params, jax.tree.unflatten(jax.tree.structure(params), list(keys)))
