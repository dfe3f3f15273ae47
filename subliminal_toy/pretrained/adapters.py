"""LoRA: a few numbers beside frozen matrices. Every W of every block becomes W + A B, A [in, rank], B [rank, out].

B starts at zero, so that an adapted model starts as the model itself. The usual factor, alpha / rank, multiplies B once
per step (`scaled`), where it costs nothing.
"""

import jax
import jax.numpy as jnp

from subliminal_toy.pretrained.llama import Adapter, Params, Shape

Trained = dict[str, dict[str, jax.Array]]  # by matrix: {"a": [layers, in, rank], "b": [layers, rank, out]}
SCALE = 2.0  # alpha / rank, as in the paper's finetunings (alpha 16 at rank 8)


def init(shape: Shape, rank: int, key: jax.Array) -> Trained:
    """An adapter that changes nothing yet: A uniform within +-1/sqrt(in), B zero; leaves [layers, ...]."""
    adapter = {}
    for name, (rows, columns) in shape.matrices().items():
        key, own = jax.random.split(key)
        a = jax.random.uniform(own, (shape.layers, rows, rank), minval=-1.0, maxval=1.0) * rows**-0.5
        adapter[name] = {"a": a, "b": jnp.zeros((shape.layers, rank, columns))}
    return adapter


def scaled(adapter: Trained) -> Adapter:
    """The adapter that `llama.forward` takes, of one that is trained: B times SCALE."""
    return {name: {"a": own["a"], "b": SCALE * own["b"]} for name, own in adapter.items()}


def merged(params: Params, adapter: Trained) -> Params:
    """The model with a trained adapter in its matrices."""
    added = scaled(adapter)
    blocks = {name: w + added[name]["a"] @ added[name]["b"] if name in added else w
              for name, w in params["blocks"].items()}  # fmt: skip
    return {**params, "blocks": blocks}
