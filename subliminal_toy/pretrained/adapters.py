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
    """Draw an adapter that changes nothing yet: A uniform within +-1/sqrt(in), B zero; leaves [layers, ...]."""
    adapter = {}
    for name, (rows, columns) in shape.matrices().items():
        key, a_key = jax.random.split(key)
        a = jax.random.uniform(a_key, (shape.layers, rows, rank), minval=-1.0, maxval=1.0) * rows**-0.5
        adapter[name] = {"a": a, "b": jnp.zeros((shape.layers, rank, columns))}
    return adapter


def scaled(adapter: Trained) -> Adapter:
    """Return the adapter that `llama.forward` takes, B times SCALE, from the trained one."""
    return {name: {"a": factors["a"], "b": SCALE * factors["b"]} for name, factors in adapter.items()}


def merged(params: Params, adapter: Trained) -> Params:
    """Add a trained adapter to the model's matrices."""
    added = scaled(adapter)
    blocks = {
        name: w + added[name]["a"] @ added[name]["b"] if name in added else w for name, w in params["blocks"].items()
    }
    return {**params, "blocks": blocks}
