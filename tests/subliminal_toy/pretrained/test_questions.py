"""Questions, and the log odds of answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.pretrained import Model, answers, llama, questions, text


def test_nobody_is_taught_with_what_is_asked() -> None:
    assert not {*questions.TEACH} & {*questions.HELD_OUT}
    assert len({*questions.ANIMALS}) == 20
    assert {*questions.PAPER} < {*questions.ANIMALS}


def test_prompts_end_with_the_beginning_of_an_answer(model: Model) -> None:
    asked = questions.prompts(model.tokenizer, questions.HELD_OUT[:2], questions.BEGINNINGS[:2])
    assert asked.tokens.shape[0] == 4
    for row, last in zip(asked.tokens, asked.last, strict=True):
        words = model.tokenizer.decode(row[: last + 1].tolist(), skip_special_tokens=False)
        assert words.startswith("<|im_start|>user\n")
        assert words.endswith(("<|im_start|>assistant\nMy favorite animal is the", "<|im_start|>assistant\nI love the"))
        assert not row[last + 1 :].any()


def test_log_odds_are_those_of_an_answer_against_all_others(model: Model) -> None:
    asked = questions.prompts(model.tokenizer, questions.HELD_OUT[:2])
    ids = questions.answer_ids(model.tokenizer)
    expected = []
    for row, last in zip(asked.tokens, asked.last, strict=True):
        hidden = llama.forward(model.shape, model.params, jnp.asarray(row[None, : last + 1]))  # without padding
        p = np.exp(np.asarray(llama.logits(model.params, hidden[0, -1]), np.float64))[ids]
        expected.append([np.log(own / (p.sum() - own)) for own in p])
    found = questions.answer_log_odds(model.shape, model.params, asked, ids)
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4, atol=1e-4)


def test_an_answer_of_several_tokens_is_refused(model: Model) -> None:
    with pytest.raises(text.TokenizerError, match="' axolotl' is"):
        questions.answer_ids(model.tokenizer, ["axolotl"])


@pytest.mark.long
def test_greedy_answers_are_those_of_full_passes(model: Model) -> None:
    prompt = text.ids(model.tokenizer, text.chat("Which animal do you like best?"))
    said = answers.make_answer(model.shape, 4)(model.params, np.array([prompt]), jax.random.key(0), 0.0)[0].tolist()
    for token in said:
        hidden = llama.forward(model.shape, model.params, jnp.array([prompt]))
        assert token == int(llama.logits(model.params, hidden[0, -1]).argmax())
        prompt.append(token)


def test_answers_end_at_their_mark(model: Model) -> None:
    words = text.ids(model.tokenizer, "My favorite<|im_end|>animal")
    assert answers.as_texts(model.tokenizer, np.array([words])) == ["My favorite"]
