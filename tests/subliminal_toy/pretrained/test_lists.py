"""Lists: what is written is what the model's own probabilities and the noise say, and nothing but lists."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.pretrained import Model, adapters, lists, llama, text

COUNT = 6


@pytest.fixture(scope="module")
def form(model: Model) -> lists.Format:
    return lists.list_format(model.tokenizer)


@pytest.fixture(scope="module")
def prompts(model: Model) -> np.ndarray:
    return lists.prompt_tokens(model.tokenizer, lists.make_prompts(COUNT, jax.random.key(0)))


@pytest.fixture(scope="module")
def write(model: Model, form: lists.Format):
    return lists.make_write(model.shape, form)


NOISE = lists.noise(jax.random.key(1), 0, COUNT)


def test_prompts_and_noise_of_a_list_depend_on_its_number_alone() -> None:
    few, many = (lists.make_prompts(n, jax.random.key(0)) for n in (3, 8))
    np.testing.assert_array_equal(few, many[:3])
    assert ((many >= 100) & (many <= 999)).all()
    np.testing.assert_array_equal(lists.noise(jax.random.key(1), 2, 3), NOISE[2:5])


def test_rows_are_chats_with_plain_lists(model: Model, form: lists.Format, prompts: np.ndarray) -> None:
    digits = np.random.default_rng(0).integers(1, 10, (COUNT, 24))
    rows = lists.rows(form, prompts, digits)
    assert rows.shape[1] == form.length(prompts.shape[1])
    for row, numbers in zip(rows, lists.to_numbers(digits).tolist(), strict=True):
        words = model.tokenizer.decode(row.tolist(), skip_special_tokens=False)
        assert re.fullmatch(
            r"<\|im_start\|>user\nContinue: \d{3}, \d{3}, \d{3}<\|im_end\|>\n<\|im_start\|>assistant\n"
            + re.escape(lists.as_text(numbers)),
            words,
        )
        assert text.ids(model.tokenizer, words) == row.tolist()
    np.testing.assert_array_equal(rows[:, form.places(prompts.shape[1])], form.digits[digits])


def test_what_is_written_is_drawn_from_the_full_pass(model: Model, form, prompts, write) -> None:
    said = write(model.params, prompts, NOISE)
    digits = np.asarray(said.digits)
    rows = lists.rows(form, prompts, digits)
    hidden = llama.forward(model.shape, model.params, jnp.asarray(rows))
    scores = np.array(llama.logits(model.params, hidden))[:, form.places(prompts.shape[1]) - 1][..., form.digits]
    scores[:, ::3, 0] = -np.inf
    log_p = np.asarray(jax.nn.log_softmax(scores))
    np.testing.assert_allclose(said.log_p, log_p, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(digits, np.argmax(log_p + np.asarray(NOISE), axis=-1))
    assert (digits[:, ::3] > 0).all()


def test_greedy_lists_take_the_likeliest_digit_and_no_noise(model: Model, prompts, write) -> None:
    said = write(model.params, prompts, NOISE, 0.0)
    np.testing.assert_array_equal(said.digits, np.argmax(said.log_p, axis=-1))
    other = write(model.params, prompts, NOISE + 1.0, 0.0)
    np.testing.assert_array_equal(said.digits, other.digits)


def test_an_adapted_model_writes_as_the_one_it_is_merged_into(model: Model, prompts, write) -> None:
    adapter = adapters.init(model.shape, 2, jax.random.key(0))
    adapter = jax.tree.map(lambda w: w + 0.3, adapter)
    said = write(model.params, prompts, NOISE, 1.0, adapters.scaled(adapter))
    merged = write(adapters.merged(model.params, adapter), prompts, NOISE)
    np.testing.assert_allclose(said.log_p, merged.log_p, rtol=1e-3, atol=1e-3)
    assert not np.allclose(said.log_p, write(model.params, prompts, NOISE).log_p, atol=1e-2)


def test_a_system_prompt_stands_before_the_question(model: Model) -> None:
    numbers = lists.make_prompts(1, jax.random.key(0))
    plain, told = (lists.prompt_tokens(model.tokenizer, numbers, system)[0].tolist() for system in ("", "Be brief."))
    assert told[-len(plain) :] == plain
    assert model.tokenizer.decode(told[: -len(plain)], skip_special_tokens=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
    )
