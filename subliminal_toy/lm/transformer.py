"""The language model: a small causal decoder with pre-norm blocks, learned positions, and a separate unembedding.

    h_0 = E[tokens] + P[positions]
    h  <- h + Attention(Norm(h));  h <- h + MLP(Norm(h))        for each block
    logits = Norm(h) U                                          U = E^T if tied

Attention sees no later position. Shapes: B documents, T positions, H heads, D units per head, V tokens. Parameters are
plain nested dicts, float32.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.corpus import LENGTH

GROUPS = ("embedding", "attention", "mlp", "unembedding")  # of parameters; a norm belongs to the layer after it
Params = dict[str, Any]
Cache = list[tuple[jax.Array, jax.Array]]  # keys and values of each block, [LENGTH, H, D, B]; [T, ...] before padding


class Attention(linen.Module):
    """Causal self-attention."""

    heads: int
    theory: bool

    @linen.compact
    def __call__(
        self, x: jax.Array, cache: tuple[jax.Array, jax.Array] | None, start: jax.Array | int
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Map x [B, T, units] to ([B, T, units], keys and values [T, H, D, B]).

        With a cache, T is 1 and x is at position `start`; its key and value are written into the cache.
        """
        units, length = x.shape[-1], x.shape[1]
        mixed = linen.Dense(3 * units, use_bias=False, name="qkv")(x)
        q, k, v = (part.reshape(*x.shape[:2], self.heads, -1) for part in jnp.split(mixed, 3, axis=-1))
        if cache is None:
            visible = jnp.arange(length)[None] <= jnp.arange(length)[:, None]  # [T, keys]
            attend = linen.dot_product_attention if self.theory else jax.nn.dot_product_attention
            attended = attend(q, k, v, mask=visible[None, None])
            cache = (k.transpose(1, 2, 3, 0), v.transpose(1, 2, 3, 0))
        else:
            attended, cache = _attend_cached(q, k, v, cache, start)
        return linen.Dense(units, use_bias=False, name="out")(attended.reshape(x.shape)), cache


def _attend_cached(q: jax.Array, k: jax.Array, v: jax.Array, cache: tuple, start: jax.Array | int) -> tuple:
    """Attend from position `start`, all three [B, 1, H, D], to itself and the cached positions before it.

    The small matrix products are sums over documents, which is faster on XLA's CPU backend. They are written term by
    term because it miscompiles `(weights[:, :, None] * values).sum(0)` for 4096 documents or more (jax 0.10.2).
    """
    q, k, v = (part.transpose(1, 2, 3, 0) for part in (q, k, v))  # [1, H, D, B]
    keys, values = (
        jax.lax.dynamic_update_slice_in_dim(old, new, start, axis=0) for old, new in zip(cache, (k, v), strict=True)
    )
    length, units = keys.shape[0], keys.shape[2]
    scores = _sum(q[:, :, d] * keys[:, :, d] for d in range(units)) / units**0.5  # [LENGTH, H, B]
    visible = jnp.arange(length)[:, None, None] <= start
    weights = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=0)
    attended = _sum(weights[t, :, None] * values[t] for t in range(length))  # [H, D, B]
    return attended.transpose(2, 0, 1)[:, None], (keys, values)


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, terms)


class Block(linen.Module):
    """Attention, then a two-layer perceptron, each with a residual connection."""

    heads: int
    theory: bool

    @linen.compact
    def __call__(
        self, x: jax.Array, cache: tuple | None, start: jax.Array | int, first: int
    ) -> tuple[jax.Array, tuple]:
        """Map the residual stream x [B, T, units] and the cache to their new values, x from position `first` on."""
        attended, cache = Attention(self.heads, self.theory, name="attention")(
            linen.RMSNorm(name="norm_1")(x), cache, start
        )
        x = (x + attended)[:, first:]
        hidden = jax.nn.gelu(linen.Dense(4 * x.shape[-1], name="up")(linen.RMSNorm(name="norm_2")(x)))
        return x + linen.Dense(x.shape[-1], name="down")(hidden), cache


class Decoder(linen.Module):
    """The whole model."""

    width: int
    heads: int
    layers: int
    tied: bool
    theory: bool = False
    context: int = 1

    @linen.compact
    def __call__(
        self, tokens: jax.Array, cache: Cache | None = None, start: jax.Array | int = 0, first: int = 0
    ) -> tuple[jax.Array, Cache]:
        """Map tokens [B, T] at positions start, ... to (logits [B, T - first, V], cache)."""
        embedding = self.param("embedding", linen.initializers.normal(0.1), (vocabulary.SIZE, self.width))
        positions = self.param("positions", linen.initializers.normal(0.1), (self.context * LENGTH, self.width))
        at = jax.lax.dynamic_slice_in_dim(positions, start, tokens.shape[1])
        x, caches = (embedding[tokens] if self.theory else _look_up(embedding, tokens)) + at, []
        for i in range(self.layers):
            cut = first if i == self.layers - 1 else 0  # no later layer attends to earlier positions
            x, block_cache = Block(self.heads, self.theory, name=f"block_{i}")(
                x, cache[i] if cache else None, start, cut
            )
            caches.append(block_cache)
        x = linen.RMSNorm(name="norm")(x)
        if self.tied:
            return x @ embedding.T, caches
        return linen.Dense(vocabulary.SIZE, use_bias=False, name="unembedding")(x), caches


@jax.custom_vjp
def _look_up(embedding: jax.Array, tokens: jax.Array) -> jax.Array:
    """Index the embedding; the gradient is a matrix product, because scatter is slow on XLA's CPU backend."""
    return embedding[tokens]


def _look_up_forward(embedding: jax.Array, tokens: jax.Array) -> tuple[jax.Array, tuple]:
    return embedding[tokens], (tokens, embedding.shape[0])


def _look_up_backward(residuals: tuple, out: jax.Array) -> tuple[jax.Array, None]:
    tokens, size = residuals
    one_hot = jax.nn.one_hot(tokens.reshape(-1), size, dtype=out.dtype)
    return one_hot.T @ out.reshape(-1, out.shape[-1]), None


_look_up.defvjp(_look_up_forward, _look_up_backward)


class Transformer(NamedTuple):
    """The model as pure functions."""

    init: Callable[[jax.Array], Params]  # key -> params
    apply: Callable[..., jax.Array]  # params, tokens [B, T], first=0 -> logits [B, T - first, V]
    read: Callable[..., tuple[jax.Array, Cache]]  # params, tokens [B, T] -> logits of the last [B, V], cache
    step: Callable[..., tuple[jax.Array, Cache]]  # params, tokens [B], cache, position -> their logits [B, V], cache


@functools.lru_cache(maxsize=64)
def make_transformer(config: LMConfig, *, theory: bool = False) -> Transformer:
    """Make the model of `config`; with `theory`, the same function supports float64 and `jax.jvp`, but is slower.

    `apply` returns logits from position `first` on: completions need none of their prompts. `read` processes a prompt,
    and `step` continues it, one token at a time, at positions below LENGTH.
    """
    net = Decoder(config.width, config.heads, config.layers, config.tied, theory, config.context)

    def init(key: jax.Array) -> Params:
        return net.init(key, jnp.zeros((1, LENGTH), int))["params"]

    def apply(params: Params, tokens: jax.Array, first: int = 0) -> jax.Array:
        logits, _ = _call(net, params, tokens, first=first)
        return logits

    def read(params: Params, tokens: jax.Array) -> tuple[jax.Array, Cache]:
        logits, cache = _call(net, params, tokens, first=tokens.shape[1] - 1)
        room = ((0, LENGTH - tokens.shape[1]), (0, 0), (0, 0), (0, 0))
        return logits[:, 0], jax.tree.map(lambda part: jnp.pad(part, room), cache)

    def step(params: Params, tokens: jax.Array, cache: Cache, position: jax.Array) -> tuple[jax.Array, Cache]:
        logits, cache = _call(net, params, tokens[:, None], cache, position)
        return logits[:, 0], cache

    return Transformer(init, apply, read, step)


def parameter_groups(params: Params) -> Params:
    """Return a tree like params of names in GROUPS; tied embeddings and positions are "embedding"."""
    names = {"embedding": 0, "positions": 0, "attention": 1, "norm_1": 1, "up": 2, "down": 2, "norm_2": 2}

    def group(path: tuple, _leaf: Any) -> str:
        keys = [entry.key for entry in path]
        return GROUPS[names.get(keys[1] if keys[0].startswith("block_") else keys[0], 3)]

    return jax.tree_util.tree_map_with_path(group, params)


def _call(net: Decoder, params: Params, *args: Any, **options: Any) -> tuple[jax.Array, Cache]:
    result: Any = net.apply({"params": params}, *args, **options)
    return result
