"""A Llama in one page: pure functions of its parameters.

Tokens become vectors, each block adds what attention and a gated MLP make of them, and the last vectors are compared
with the embedding of every token:

    x = E[tokens]
    x = x + W_o attention(W_q h, W_k h, W_v h),   h = norm(x)        } every block
    x = x + W_down (silu(W_gate h) * W_up h),     h = norm(x)        }
    logits = norm(x) U^T                                             (U = E where they are tied)

Every matrix is [in, out]; what all blocks have is stacked, [layers, ...], so that the blocks are one `lax.scan`, which
compiles one block instead of thirty. Arithmetic is float32. Letters of shapes: B rows, T tokens, S positions of the
cache, D width, H query heads, G key-value heads, d units of a head.

A Llama differs from a GPT-2 in this: RMSNorm without a mean or biases, positions as rotations of queries and keys
(RoPE), a gate in the MLP, and several query heads that share one head of keys and values.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Params = dict[str, Any]
Adapter = Mapping[str, Mapping[str, jax.Array]]  # see adapters.py
HIDDEN = -1e30  # the score of a position that may not be seen


class Shape(NamedTuple):
    """What a model looks like; static, so that functions compile for it."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int  # units of the MLP
    vocabulary: int
    rope_base: float = 10_000.0
    epsilon: float = 1e-5  # of the norms
    tied: bool = True  # whether the unembedding is the embedding

    def matrices(self) -> dict[str, tuple[int, int]]:
        """[in, out] of the matrices of a block."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "q": (self.width, queries),
            "k": (self.width, keys),
            "v": (self.width, keys),
            "o": (queries, self.width),
            "gate": (self.width, self.hidden),
            "up": (self.width, self.hidden),
            "down": (self.hidden, self.width),
        }

    def parameters(self) -> int:
        """Count the model's parameters."""
        block = sum(a * b for a, b in self.matrices().values()) + 2 * self.width
        return self.layers * block + self.width + (1 if self.tied else 2) * self.vocabulary * self.width


class Cache(NamedTuple):
    """Keys and values of the positions so far, [layers, B, S, G, d] each."""

    keys: jax.Array
    values: jax.Array


def init(shape: Shape, key: jax.Array) -> Params:
    """Draw parameters, normal with variance 1 / in: a model that has learnt nothing, for tests and benchmarks."""
    names = [*shape.matrices(), "embedding", "unembedding"]
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))

    def normal(name: str, *size: int) -> jax.Array:
        return jax.random.normal(keys[name], size) * size[-2] ** -0.5

    ones = jnp.ones((shape.layers, shape.width))
    blocks = {name: normal(name, shape.layers, *size) for name, size in shape.matrices().items()}
    tables = ["embedding"] if shape.tied else ["embedding", "unembedding"]
    return {
        **{name: jax.random.normal(keys[name], (shape.vocabulary, shape.width)) * 0.1 for name in tables},
        "blocks": {**blocks, "attention_norm": ones, "mlp_norm": ones},
        "norm": jnp.ones(shape.width),
    }


def empty_cache(shape: Shape, rows: int, positions: int) -> Cache:
    """Make a cache of zeros."""
    size = (shape.layers, rows, positions, shape.kv_heads, shape.head_size)
    return Cache(jnp.zeros(size), jnp.zeros(size))


def forward(
    shape: Shape, params: Params, tokens: jax.Array, *, adapter: Adapter | None = None, remat: bool = False
) -> jax.Array:
    """Return the last vectors of tokens [B, T], normed, [B, T, D]; `logits` turns them into logits.

    Args:
        shape: of the model.
        params: of the model.
        tokens: their ids; padding belongs to the right, where no token before it sees it.
        adapter: what is added to the matrices (adapters.py).
        remat: whether a gradient computes the blocks again instead of keeping what they made: less memory, more time.
    """
    return _through_blocks(shape, params, tokens, adapter, None, 0, remat)[0]


def extend(
    shape: Shape,
    params: Params,
    cache: Cache,
    tokens: jax.Array,
    start: int | jax.Array,
    *,
    adapter: Adapter | None = None,
) -> tuple[jax.Array, Cache]:
    """Return the last vectors of tokens [B, T] after the `start` tokens in the cache, and the cache with all of them.

    Writing a text token by token takes one token's work for each, instead of the whole text's.
    """
    hidden, extended = _through_blocks(shape, params, tokens, adapter, cache, start, remat=False)
    assert extended is not None
    return hidden, extended


def _through_blocks(
    shape: Shape,
    params: Params,
    tokens: jax.Array,
    adapter: Adapter | None,
    cache: Cache | None,
    start: int | jax.Array,
    remat: bool,
) -> tuple[jax.Array, Cache | None]:
    positions = start + jnp.arange(tokens.shape[1])
    seen = positions if cache is None else jnp.arange(cache.keys.shape[2])
    visible = positions[:, None] >= seen  # [T, T or S]
    turn = rotation(shape, positions)

    def layer(x: jax.Array, of_layer: tuple) -> tuple[jax.Array, Cache | None]:
        weights, added, past = of_layer
        return block(shape, functools.partial(linear, weights, added), weights, x, turn, visible, past, start)

    x, cache = jax.lax.scan(
        jax.checkpoint(layer) if remat else layer, params["embedding"][tokens], (params["blocks"], adapter, cache)
    )
    return rms_norm(x, params["norm"], shape.epsilon), cache


def logits(params: Params, hidden: jax.Array) -> jax.Array:
    """Logits of every next token, [..., V], of last vectors [..., D]."""
    return hidden @ unembedding(params).T


def unembedding(params: Params) -> jax.Array:
    """Return the vectors [V, D] that last ones are compared with."""
    table: jax.Array = params["unembedding" if "unembedding" in params else "embedding"]
    return table


def block(
    shape: Shape,
    project: Any,
    weights: Params,
    x: jax.Array,
    turn: tuple[jax.Array, jax.Array],
    visible: jax.Array,
    past: Cache | None,
    start: int | jax.Array,
) -> tuple[jax.Array, Cache | None]:
    """Apply one block to vectors [B, T, D]; `project(name, x)` multiplies by one of its matrices."""
    h = rms_norm(x, weights["attention_norm"], shape.epsilon)
    heads = {"q": shape.heads, "k": shape.kv_heads, "v": shape.kv_heads}
    q, k, v = (project(name, h).reshape(*h.shape[:2], n, shape.head_size) for name, n in heads.items())
    q, k = rotate(q, turn), rotate(k, turn)
    if past is not None:
        past = Cache(*(jax.lax.dynamic_update_slice_in_dim(old, new, start, 1) for old, new in zip(past, (k, v))))  # noqa: B905
        k, v = past
    x = x + project("o", attention(q, k, v, visible))
    h = rms_norm(x, weights["mlp_norm"], shape.epsilon)
    return x + project("down", jax.nn.silu(project("gate", h)) * project("up", h)), past


def linear(weights: Params, added: Adapter | None, name: str, x: jax.Array) -> jax.Array:
    """Return x W, or with an adapter x W + x A B, whose two thin products cost a hundredth of the first."""
    y: jax.Array = x @ weights[name]
    return y if added is None else y + x @ added[name]["a"] @ added[name]["b"]


def attention(q: jax.Array, k: jax.Array, v: jax.Array, visible: jax.Array) -> jax.Array:
    """Average values, weighted by how well their keys fit the queries.

    Args:
        q: queries [B, T, H, d]; heads g H/G, ..., (g + 1) H/G - 1 share the keys and values of head g.
        k: keys [B, S, G, d].
        v: values [B, S, G, d].
        visible: [T, S] whether a query may look at a position.

    Returns:
        [B, T, H d].
    """
    rows, tokens, _, size = q.shape
    q = q.reshape(rows, tokens, k.shape[2], -1, size)  # [B, T, G, H/G, d]
    scores = jnp.einsum("btghd,bsgd->bghts", q, k) * size**-0.5
    weights = jax.nn.softmax(jnp.where(visible, scores, HIDDEN))
    return jnp.einsum("bghts,bsgd->btghd", weights, v).reshape(rows, tokens, -1)


def rms_norm(x: jax.Array, scale: jax.Array, epsilon: float) -> jax.Array:
    """Scale vectors [..., D] to a mean square of 1, then by learnt factors."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * scale


def rotation(shape: Shape, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return cosines and sines [T, 1, d/2] of the angles p / base^(2i/d) by which position p turns pair i of a head."""
    frequency = shape.rope_base ** (-jnp.arange(0, shape.head_size, 2) / shape.head_size)
    angles = (positions[:, None] * frequency)[:, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, turn: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turn every pair (i, i + d/2) of heads [B, T, H, d]: products of two then depend on their distance only."""
    cos, sin = turn
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
