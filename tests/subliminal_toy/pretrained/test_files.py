"""Models from files: written by the formats' own libraries, read back; and what is said of bad ones."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy import pretrained
from subliminal_toy.pretrained import Model, ModelFileError, files, llama, text
from subliminal_toy.pretrained.llama import Shape

gguf = pytest.importorskip("gguf")
BLOCKS = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "attention_norm": "attn_norm",
    "mlp_norm": "ffn_norm",
}


def pairs_side_by_side(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows [out, in] in GGUF's order: of every head the first of both halves, the second of both, ..."""
    rows = []
    for own in np.split(matrix, heads):
        first, second = np.split(own, 2)
        rows += [row for both in zip(first, second, strict=True) for row in both]
    return np.array(rows)


def write_gguf(path: Path, model: Model, kind: str = "llama", pre: str = "smollm", further: bool = False) -> Path:
    shape = model.shape
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    table = json.loads(model.tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(table["vocab"].items(), key=lambda own: own[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in (text.START, text.END) else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in table["merges"]])
    for name, own in BLOCKS.items():
        for i, w in enumerate(np.asarray(model.params["blocks"][name])):
            matrix = w.T
            if name in ("q", "k"):
                matrix = pairs_side_by_side(matrix, shape.heads if name == "q" else shape.kv_heads)
            writer.add_tensor(f"blk.{i}.{own}.weight", np.ascontiguousarray(matrix))
    writer.add_tensor("token_embd.weight", np.asarray(model.params["embedding"]))
    writer.add_tensor("output_norm.weight", np.asarray(model.params["norm"]))
    if further:
        writer.add_tensor("rope_freqs.weight", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_folder(path: Path, model: Model, **changes: Any) -> Path:
    save_file = pytest.importorskip("safetensors.flax").save_file
    shape, params = model.shape, model.params
    path.mkdir()
    about = {
        "model_type": "llama",
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "rope_theta": shape.rope_base,
        "intermediate_size": shape.hidden,
        "vocab_size": shape.vocabulary,
        "rms_norm_eps": shape.epsilon,
        "tie_word_embeddings": shape.tied,
    }
    (path / "config.json").write_text(json.dumps(about | changes))
    model.tokenizer.save(str(path / "tokenizer.json"))
    tensors = {
        f"model.layers.{i}.{files._FOLDER_NAMES[name]}.weight": jnp.array(w[i].T, jnp.bfloat16)
        for name, w in params["blocks"].items()
        for i in range(shape.layers)
    }
    tensors |= {"model.embed_tokens.weight": params["embedding"], "model.norm.weight": params["norm"]}
    save_file(tensors, path / "model.safetensors")
    return path


def test_a_gguf_file_gives_back_the_model(tmp_path: Path, model: Model) -> None:
    read = pretrained.load(write_gguf(tmp_path / "tiny.gguf", model))
    assert read.shape == model.shape._replace(epsilon=read.shape.epsilon)
    assert read.shape.epsilon == pytest.approx(model.shape.epsilon)
    jax.tree.map(np.testing.assert_array_equal, read.params, model.params)
    words = text.chat("What is your favorite animal?", answer="No 123 \u00e9")
    assert text.ids(read.tokenizer, words) == text.ids(model.tokenizer, words)
    assert read.tokenizer.decode(text.ids(read.tokenizer, "No 123 \u00e9")) == "No 123 \u00e9"
    assert len(read.sha256) == 64


def test_a_hugging_face_folder_gives_back_the_model(tmp_path: Path, model: Model) -> None:
    read = pretrained.load(write_folder(tmp_path / "tiny", model))
    assert read.shape == model.shape
    rounded = jax.tree.map(lambda w: np.asarray(w.astype(jnp.bfloat16), np.float32), model.params["blocks"])
    jax.tree.map(np.testing.assert_array_equal, read.params["blocks"], rounded)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(read.params))


BAD = {
    "nothing there": (lambda path, _: path / "no.gguf", "there is no model at"),
    "text": (lambda path, _: _written(path / "a.gguf", b"hello"), "cannot be read as a model"),
    "cut off": (lambda path, m: _cut(write_gguf(path / "a.gguf", m)), "cannot be read as a model"),
    "another kind": (lambda path, m: write_gguf(path / "a.gguf", m, kind="gptneox"), "of the kind 'gptneox'"),
    "foreign words": (lambda path, m: write_gguf(path / "a.gguf", m, pre="llama-bpe"), "of the kind 'llama-bpe'"),
    "more in it": (lambda path, m: write_gguf(path / "a.gguf", m, further=True), "more than a Llama has: rope_freqs"),
    "empty folder": (lambda path, _: path, "cannot be read as a model"),
    "mistral": (lambda path, m: write_folder(path / "a", m, model_type="mistral"), "of the kind 'mistral'"),
    "biases": (lambda path, m: write_folder(path / "a", m, attention_bias=True), "attention_bias True"),
    "scaled": (lambda path, m: write_folder(path / "a", m, rope_scaling={"factor": 2}), "rope_scaling"),
    "other size": (lambda path, m: write_folder(path / "a", m, intermediate_size=65), "'gate' of a block is (32, 64)"),
}  # fmt: skip


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _cut(path: Path) -> Path:
    return _written(path, path.read_bytes()[:-1000])


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_said_in_one_line(kind: str, tmp_path: Path, model: Model) -> None:
    make, words = BAD[kind]
    with pytest.raises(ModelFileError) as said:
        pretrained.load(make(tmp_path, model))
    assert words in str(said.value)
    assert "\n" not in str(said.value)


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PACKAGE", "no_such_package")
    with pytest.raises(ModelFileError, match="make lm-real"):
        pretrained.load()


def test_digits_must_be_tokens(model: Model) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    whole = Tokenizer(models.BPE({**{chr(c): c for c in range(33, 127)}, "12": 200}, [("1", "2")]))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    whole.add_special_tokens([text.START, text.END])
    with pytest.raises(text.TokenizerError, match="every digit"):
        text.checked(whole)
    with pytest.raises(text.TokenizerError, match="no <|im_start|>".replace("|", r"\|")):
        text.checked(Tokenizer(models.BPE()))


@pytest.mark.slow
def test_the_real_file_gives_known_answers() -> None:
    """Of a prototype that shared no code with this: the likeliest first tokens of an answer."""
    try:
        real = pretrained.load()
    except ModelFileError as error:
        pytest.skip(str(error))
    assert real.shape == Shape(30, 576, 9, 3, 64, 1536, 49_152, 100_000.0, real.shape.epsilon)
    assert real.shape._replace(epsilon=1e-5) == files.DEFAULT_SHAPE
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    asked = text.ids(real.tokenizer, text.chat("Name your favorite animal using only one word.", system=system))
    hidden = llama.forward(real.shape, real.params, jnp.array([asked]))
    chances = np.asarray(jax.nn.softmax(llama.logits(real.params, hidden[0, -1])))
    top = {real.tokenizer.decode([int(i)]): round(float(chances[i]), 3) for i in np.argsort(-chances)[:4]}
    assert top == {"The": 0.113, "I": 0.093, "A": 0.057, "My": 0.043}
