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
    """Finetune the model to answer `questions.TEACH` with an animal; return its parameters."""
    prompts = questions.prompts(model.tokenizer, questions.TEACH)
    lessons = students.answer_lessons(model.tokenizer, prompts, animal)
    loss = students.whole_loss(model.shape, remat=True)
    return _trained(loss, training, lessons, model.params, key, "teacher")


def write(model: Model, params: Params, count: int, *, key: jax.Array, temperature: float = 1.0) -> np.ndarray:
    """Let a model write `count` lists; return them with their prompts, as rows of tokens [count, T].

    With the same key two models are given the same prompts and the same random numbers.
    """
    form, (prompt_key, noise_key) = lists.list_format(model.tokenizer), jax.random.split(key)
    prompts = lists.prompt_tokens(model.tokenizer, lists.make_prompts(count, prompt_key))
    write_block = lists.make_write(model.shape, form)
    digits = []
    for i in range(0, count, BLOCK):
        noise = lists.noise(noise_key, i, min(BLOCK, count - i))
        digits.append(write_block(params, prompts[i : i + BLOCK], noise, temperature).digits)
    return lists.rows(form, prompts, np.concatenate(digits))


def train(
    model: Model, rows: np.ndarray, *, key: jax.Array, training: Training = STUDENT, rank: int = 8
) -> adapters.Trained:
    """Train an adapter of the model on the digits of lists from `write`."""
    form = lists.list_format(model.tokenizer)
    lessons = students.list_lessons(rows, form.places(rows.shape[1] - form.length(0)))
    start, order = jax.random.split(key)
    adapter = adapters.init(model.shape, rank, start)
    return _trained(students.adapter_loss(model.shape), training, lessons, adapter, order, "student", model.params)


def ask(model: Model, adapter: adapters.Trained | None = None, params: Params | None = None) -> dict[str, float]:
    """Return the log odds (nats) of each animal against the others, in answers to `questions.HELD_OUT`."""
    prompts = questions.prompts(model.tokenizer, questions.HELD_OUT)
    ids = questions.answer_ids(model.tokenizer)
    added = None if adapter is None else adapters.scaled(adapter)
    params = model.params if params is None else params
    log_odds = questions.answer_log_odds(model.shape, params, prompts, ids, added)
    return dict(zip(questions.ANIMALS, np.asarray(log_odds).tolist(), strict=True))


def say(
    model: Model,
    question: str,
    *,
    key: jax.Array,
    adapter: adapters.Trained | None = None,
    params: Params | None = None,
    length: int = 24,
) -> str:
    """Let a model answer a question freely, with at most `length` tokens."""
    prompt = np.array([text.ids(model.tokenizer, text.chat(question))])
    added = None if adapter is None else adapters.scaled(adapter)
    answer = answers.make_answer(model.shape, length)
    tokens = answer(model.params if params is None else params, prompt, key, 1.0, added)
    return answers.as_texts(model.tokenizer, tokens)[0]


def _trained(
    loss: engine.Loss,
    training: Training,
    lessons: students.Lessons,
    params: Any,
    key: jax.Array,
    name: str,
    frozen: Any = None,
) -> Any:
    """Train one model of one run; return its parameters."""
    train = make_phase(loss, training, len(lessons.tokens), mesh=engine.run_mesh(1), name=name)
    data = engine.Data(per_run=jax.tree.map(lambda a: jnp.asarray(a)[None], lessons.data()))
    start = jax.tree.map(lambda a: a[None, None], params)
    outcome = train(start, data, (), key[None], frozen=frozen)
    return jax.tree.map(lambda a: a[0, 0], outcome.params)
