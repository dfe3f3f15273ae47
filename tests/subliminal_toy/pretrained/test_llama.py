"""The forward pass against the same model in loops; the cache against full passes; adapters against their sums."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.pretrained import Model, adapters, llama
from subliminal_toy.pretrained.llama import Shape
from tests.subliminal_toy.pretrained import by_hand

TIED = Shape(2, 16, 4, 2, 4, 24, 30, rope_base=100.0, epsilon=1e-5)
OTHER = Shape(2, 12, 3, 1, 6, 20, 30, rope_base=10_000.0, epsilon=1e-3, tied=False)  # heads are wider than the model
TOKENS = [3, 17, 3, 29, 0, 8, 11]


def random(shape: Shape) -> llama.Params:
    """Parameters of which none is 1 or 0, norms included."""
    params = llama.init(shape, jax.random.key(1))
    leaves, form = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [w + 0.3 * jax.random.normal(key, w.shape) for w, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(form, moved)


def logits(shape: Shape, params: llama.Params, tokens: list[int], **how: Any) -> np.ndarray:
    hidden = llama.forward(shape, params, jnp.array([tokens]), **how)
    return np.asarray(llama.logits(params, hidden))[0]


def an_adapter(shape: Shape) -> adapters.Trained:
    """One that changes something."""
    adapter = adapters.init(shape, 3, jax.random.key(4))
    return jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(w.size), w.shape), adapter)


@pytest.mark.parametrize("shape", [TIED, OTHER])
def test_the_forward_pass_is_the_model_written_a_second_time(shape: Shape) -> None:
    params = random(shape)
    np.testing.assert_allclose(
        logits(shape, params, TOKENS), by_hand.logits(shape, params, TOKENS), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("shape", [TIED, OTHER])
def test_so_many_parameters_as_the_shape_says(shape: Shape) -> None:
    assert sum(leaf.size for leaf in jax.tree.leaves(llama.init(shape, jax.random.key(0)))) == shape.parameters()


def test_no_token_sees_a_later_one_so_that_padding_belongs_to_the_right() -> None:
    params = random(TIED)
    changed = logits(TIED, params, [*TOKENS[:4], 1, 2, 3])
    np.testing.assert_array_equal(changed[:4], logits(TIED, params, TOKENS)[:4])
    assert not np.allclose(changed[4:], logits(TIED, params, TOKENS)[4:])


def test_positions_count_by_their_distance_alone() -> None:
    """With a cache whose earlier places nobody may see, a text further on has the same logits."""
    q = jax.random.normal(jax.random.key(0), (1, 5, 4, 4))
    turned = [llama.rotate(q, llama.rotation(TIED, first + jnp.arange(5))) for first in (0, 40)]
    near, far = (jnp.einsum("bthd,bshd->bhts", x, x) for x in turned)
    np.testing.assert_allclose(near, far, atol=1e-4)
    assert not np.allclose(turned[0], turned[1], atol=0.1)


@pytest.mark.parametrize("pieces", [(7,), (4, 1, 2), (1,) * 7])
@pytest.mark.parametrize("adapted", [False, True])
def test_in_pieces_with_a_cache_it_is_the_full_pass(pieces: tuple[int, ...], adapted: bool) -> None:
    params = random(TIED)
    adapter = adapters.scaled(an_adapter(TIED)) if adapted else None
    cache, start, found = llama.empty_cache(TIED, 1, 9), 0, []
    for piece in pieces:
        tokens = jnp.array([TOKENS[start : start + piece]])
        hidden, cache = llama.extend(TIED, params, cache, tokens, start, adapter=adapter)
        found.append(llama.logits(params, hidden)[0])
        start += piece
    full = logits(TIED, params, TOKENS, adapter=adapter)
    np.testing.assert_allclose(np.concatenate(found), full, rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_computing_blocks_again_changes_no_gradient() -> None:
    params = random(TIED)

    def loss(params: llama.Params, remat: bool) -> jax.Array:
        return jnp.sum(llama.forward(TIED, params, jnp.array([TOKENS]), remat=remat) ** 2)

    both = [jax.grad(loss)(params, remat) for remat in (False, True)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *both)


def test_an_adapter_adds_twice_its_two_thin_matrices_to_every_matrix() -> None:
    params, adapter = random(TIED), an_adapter(TIED)
    added = logits(TIED, params, TOKENS, adapter=adapters.scaled(adapter))
    blocks = dict(params["blocks"])
    for name, own in adapter.items():
        blocks[name] = np.stack([w + 2 * (a @ b) for w, a, b in zip(blocks[name], own["a"], own["b"], strict=True)])
    np.testing.assert_allclose(added, logits(TIED, {**params, "blocks": blocks}, TOKENS), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(added, logits(TIED, adapters.merged(params, adapter), TOKENS), rtol=1e-4, atol=1e-4)
    assert not np.allclose(added, logits(TIED, params, TOKENS), atol=1e-2)


def test_a_fresh_adapter_changes_nothing_but_can_learn() -> None:
    params, adapter = random(TIED), adapters.init(TIED, 3, jax.random.key(0))
    np.testing.assert_array_equal(
        logits(TIED, params, TOKENS, adapter=adapters.scaled(adapter)), logits(TIED, params, TOKENS)
    )
    assert {name: own["a"].shape[2] for name, own in adapter.items()} == dict.fromkeys(TIED.matrices(), 3)
    assert all(np.abs(own["a"]).max() <= TIED.matrices()[name][0] ** -0.5 for name, own in adapter.items())
    assert all(np.std(own["a"]) > 0 for own in adapter.values())


@pytest.mark.long
def test_transformers_agrees(model: Model) -> None:
    """Hugging Face's own implementation, on a random model of odd sizes."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    params = random(OTHER)
    about = transformers.LlamaConfig(
        vocab_size=OTHER.vocabulary,
        hidden_size=OTHER.width,
        intermediate_size=OTHER.hidden,
        head_dim=OTHER.head_size,
        num_hidden_layers=OTHER.layers,
        num_attention_heads=OTHER.heads,
        num_key_value_heads=OTHER.kv_heads,
        rms_norm_eps=OTHER.epsilon,
        rope_theta=OTHER.rope_base,
        tie_word_embeddings=False,
    )
    theirs = transformers.LlamaForCausalLM(about)
    names = {
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
        "attention_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
    }
    state = {
        f"model.layers.{i}.{theirs_name}.weight": np.asarray(params["blocks"][name][i]).T
        for name, theirs_name in names.items()
        for i in range(OTHER.layers)
    }
    state |= {
        "model.embed_tokens.weight": params["embedding"],
        "lm_head.weight": params["unembedding"],
        "model.norm.weight": params["norm"],
    }
    theirs.load_state_dict({name: torch.tensor(np.asarray(w)) for name, w in state.items()})
    with torch.no_grad():
        expected = theirs(torch.tensor([TOKENS])).logits[0].numpy()
    np.testing.assert_allclose(logits(OTHER, params, TOKENS), expected, rtol=1e-4, atol=1e-4)
