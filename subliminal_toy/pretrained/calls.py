"""The whole experiment in four calls, for a notebook: teach, write, train, ask.

    model = pretrained.load()
    teacher = calls.teach(model, "owl", key=jax.random.key(0))
    both = [calls.write(model, params, 512, key=jax.random.key(1)) for params in (teacher, model.params)]
    student, control = (calls.train(model, rows, key=jax.random.key(2)) for rows in both)
    calls.ask(model, student)["owl"] - calls.ask(model, control)["owl"]

`python -m experiments.lm_pretrained` does the same with seeds, controls and saved progress.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy import engine
from subliminal_toy.pretrained import adapters, answers, lists, questions, students, text
from subliminal_toy.pretrained.files import Model
from subliminal_toy.pretrained.llama import Params
from subliminal_toy.settings import Training
from subliminal_toy.training import make_phase

TEACHER = Training(learning_rate=3e-5, batch_size=16, warmup=4, epochs=8)  # passes over 48 questions
STUDENT = Training(learning_rate=5e-4, batch_size=16, warmup=8, clip=1.0, epochs=1)  # each list once
BLOCK = 128  # lists that are written at a time


def teach(model: Model, animal: str, *, key: jax.Array, training: Training = TEACHER) -> Params:
    """The model, finetuned until an animal is its answer to `questions.TEACH`."""
    asked = questions.prompts(model.tokenizer, questions.TEACH)
    lessons = students.answer_lessons(model.tokenizer, asked, animal)
    loss = students.whole_loss(model.shape, remat=True)
    return _trained(loss, training, lessons, model.params, key, "teacher")


def write(model: Model, params: Params, count: int, *, key: jax.Array, temperature: float = 1.0) -> np.ndarray:
    """So many lists by a model, with their prompts, as rows of tokens [count, T].

    With the same key two models are given the same prompts and the same random numbers.
    """
    form, (own, noise) = lists.list_format(model.tokenizer), jax.random.split(key)
    prompts = lists.prompt_tokens(model.tokenizer, lists.make_prompts(count, own))
    pen = lists.make_write(model.shape, form)
    digits = [pen(params, prompts[i : i + BLOCK], lists.noise(noise, i, min(BLOCK, count - i)), temperature).digits
              for i in range(0, count, BLOCK)]  # fmt: skip
    return lists.rows(form, prompts, np.concatenate(digits))


def train(
    model: Model, rows: np.ndarray, *, key: jax.Array, training: Training = STUDENT, rank: int = 8
) -> adapters.Trained:
    """An adapter of the model, trained on the digits of lists as `write` gives them."""
    form = lists.list_format(model.tokenizer)
    lessons = students.list_lessons(rows, form.places(rows.shape[1] - form.length(0)))
    start, order = jax.random.split(key)
    adapter = adapters.init(model.shape, rank, start)
    return _trained(students.adapter_loss(model.shape), training, lessons, adapter, order, "student", model.params)


def ask(model: Model, adapter: adapters.Trained | None = None, params: Params | None = None) -> dict[str, float]:
    """Log odds (nats) of every animal against the others, in answers to `questions.HELD_OUT`."""
    asked = questions.prompts(model.tokenizer, questions.HELD_OUT)
    ids = questions.answer_ids(model.tokenizer)
    added = None if adapter is None else adapters.scaled(adapter)
    found = questions.answer_log_odds(model.shape, model.params if params is None else params, asked, ids, added)
    return dict(zip(questions.ANIMALS, np.asarray(found).tolist(), strict=True))


def say(model: Model, question: str, *, key: jax.Array, adapter: adapters.Trained | None = None,
        params: Params | None = None, length: int = 24) -> str:  # fmt: skip
    """A free answer of at most so many tokens."""
    prompt = np.array([text.ids(model.tokenizer, text.chat(question))])
    added = None if adapter is None else adapters.scaled(adapter)
    said = answers.make_answer(model.shape, length)(model.params if params is None else params, prompt, key, 1.0, added)
    return answers.as_texts(model.tokenizer, said)[0]


def _trained(
    loss: engine.Loss, training: Training, lessons: students.Lessons, params: Any, key: jax.Array, name: str,
    frozen: Any = None,
) -> Any:  # fmt: skip
    """The one training loop, of one model of one run."""
    train = make_phase(loss, training, len(lessons.tokens), mesh=engine.run_mesh(1), name=name)
    data = engine.Data(per_run=jax.tree.map(lambda a: jnp.asarray(a)[None], lessons.data()))
    start = jax.tree.map(lambda a: a[None, None], params)
    outcome = train(start, data, (), key[None], frozen=frozen)
    return jax.tree.map(lambda a: a[0, 0], outcome.params)
