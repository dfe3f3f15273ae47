"""A seed's way from the base to its students: teachers, lists, students, and what is read at every dose."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.pretrained import readouts
from experiments.pretrained.arms import BASE, Source, Student
from experiments.pretrained.stages import Stages
from subliminal_toy import engine
from subliminal_toy.pretrained import Model, adapters, lists, questions, students
from subliminal_toy.pretrained.llama import Params
from subliminal_toy.settings import Training
from subliminal_toy.training import make_optimizer, make_phase

LIKE: Any = lists.Written(*np.zeros(2))  # only its form counts
BLOCK = 128  # lists that are written, or learnt, in a stage
Tell = Callable[[str, float], None]  # what is done, and how many tokens went through the model for it, forward


class Keys(NamedTuple):
    """The keys of a seed, one for each purpose."""

    teacher_order: jax.Array
    prompts: jax.Array
    noise: jax.Array
    adapter: jax.Array
    student_order: jax.Array
    start: jax.Array
    shuffles: jax.Array
    answers: jax.Array


class Lists(NamedTuple):
    """What a source wrote."""

    shown: np.ndarray  # [n, 3] numbers of the prompts
    prompts: np.ndarray  # [n, P] their tokens, without a system prompt
    digits: np.ndarray  # [n, 24]
    log_p: np.ndarray  # [n, 24, 10]


class Lab:
    """A model with what is compiled for it, once for all seeds."""

    def __init__(self, model: Model, teacher: Training, student: Training) -> None:
        self.model, self.teacher, self.student = model, teacher, student
        self.form = lists.list_format(model.tokenizer)
        self.write = lists.make_write(model.shape, self.form)
        self.read = readouts.Reader(model)
        self.taught = questions.prompts(model.tokenizer, questions.TEACH)
        self._phases: dict[tuple, engine.Train] = {}

    def teach(self, passes: int) -> engine.Train:
        """The training of a teacher, in so many passes over the questions."""
        training = dataclasses.replace(self.teacher, epochs=passes)
        return self._phase(
            students.whole_loss(self.model.shape, remat=True), training, len(self.taught.last), "teacher"
        )

    def train(self, *, soft: bool) -> engine.Train:
        """A student's training on a block of lists."""
        ten = jnp.asarray(self.form.digits) if soft else None
        training = dataclasses.replace(self.student, epochs=1)
        return self._phase(students.adapter_loss(self.model.shape, ten=ten), training, BLOCK, f"student{soft}")

    def _phase(self, loss: engine.Loss, training: Training, examples: int, name: str) -> engine.Train:
        """The one training loop, of one model of one run: its arithmetic uses all cores by itself."""
        if (name, training) not in self._phases:
            self._phases[name, training] = make_phase(loss, training, examples, mesh=engine.run_mesh(1), name=name)
        return self._phases[name, training]


class Seed(NamedTuple):
    """One seed of an experiment."""

    lab: Lab
    keys: Keys  # without a run axis
    number: tuple[int, int]  # the seed of all randomness, and the run's own number
    stages: Stages
    tell: Tell = lambda _text, _tokens: None

    def stage(self, kind: str, *what: Any) -> tuple:
        """The name of a stage of this seed."""
        return kind, self.number, *what

    # Teachers and their lists

    def written(self, sources: Iterable[Source], count: int) -> tuple[dict[Source, Lists], list[dict[str, Any]]]:
        """Lists of all sources, and what is read of their teachers. A teacher is taught once, for all of its lists."""
        by_teacher: dict[tuple[str, int], list[Source]] = {}
        for source in dict.fromkeys(sources):
            by_teacher.setdefault(source.teacher, []).append(source)
        found: dict[Source, Lists] = {}
        read = []
        for teacher, own in by_teacher.items():
            model: Callable = functools.cache(functools.partial(self.taught, teacher))  # made when first asked for
            read.append({"trait": teacher[0], "taught": teacher[1], **self.teacher_read(teacher, model)})
            found |= {source: self.lists_of(source, model, count) for source in own}
        return found, read

    def taught(self, teacher: tuple[str, int]) -> tuple[Params, list[float]]:
        """The base, finetuned on a trait for so many steps, and its losses, means over passes of the questions."""
        (trait, steps), lab = teacher, self.lab
        if trait == BASE:
            return lab.model.params, []
        lessons = students.answer_lessons(lab.model.tokenizer, lab.taught, trait)
        passes = max(round(steps * lab.teacher.batch_size / len(lab.taught.last)), 1)
        outcome = lab.teach(passes)(
            _alone(lab.model.params), engine.Data(per_run=_alone(lessons.data(), 1)), (), self.keys.teacher_order[None],
            lambda _i, _params: self.tell(f"teacher of {trait}", 4 * lab.taught.tokens.size),
        )  # fmt: skip
        return _first(outcome.params), outcome.losses[:, 0, 0].tolist()

    def teacher_read(self, teacher: tuple[str, int], model: Callable) -> dict[str, Any]:
        """Log odds of all animals, loss on text, free answers; and how the teaching went."""

        def compute() -> dict[str, np.ndarray]:
            params, losses = model()
            return {**self.lab.read(params, None, self.keys.answers), "losses": np.array(losses, np.float32)}

        like = dict.fromkeys((*readouts.NAMES, "losses"), 0)
        kept = self.stages.get(self.stage("teacher", teacher, self.lab.teacher), compute, like)
        return {name: np.asarray(value).tolist() for name, value in kept.items()}

    def lists_of(self, source: Source, model: Callable, count: int) -> Lists:
        """So many lists of a source, a block at a time."""
        numbers, tokenizer = lists.make_prompts(count, self.keys.prompts), self.lab.model.tokenizer
        system = questions.PROMPTED.format(animal=source.trait) if source.prompted else ""
        asked = lists.prompt_tokens(tokenizer, numbers, system)

        def block(first: int) -> lists.Written:
            noise = lists.noise(self.keys.noise, first, BLOCK)
            return self.lab.write(model()[0], asked[first : first + BLOCK], noise, 0.0 if source.greedy else 1.0)

        blocks = []
        for first in range(0, count, BLOCK):
            what = self.stage("lists", source, self.lab.teacher, first)
            blocks.append(self.stages.get(what, functools.partial(block, first), LIKE))
            self.tell(f"lists of {source.trait or 'the base'}", BLOCK * self.lab.form.length(asked.shape[1]))
        digits, log_p = (np.concatenate([np.asarray(own[i]) for own in blocks]) for i in range(2))
        return Lists(numbers, lists.prompt_tokens(tokenizer, numbers), digits, log_p)

    # Students

    def lessons(self, student: Student, own: Lists) -> students.Lessons:
        """What a student learns, in the order of its updates."""
        digits = shuffled(own.digits, student.shuffle, self.keys.shuffles)
        rows = lists.rows(self.lab.form, own.prompts, digits)
        soft = np.exp(own.log_p) if student.soft else None
        return students.list_lessons(rows, self.lab.form.places(own.prompts.shape[1]), soft)

    def trained(self, student: Student, own: Lists, doses: Iterable[int]) -> list[dict[str, Any]]:
        """A student, trained a block of lists at a time; what is read of it at every dose, a number of updates."""
        lab, steps = self.lab, BLOCK // self.lab.student.batch_size
        lessons, base = self.lessons(student, own), self.noised(student.noise)
        adapter = adapters.init(lab.model.shape, student.rank, self.keys.adapter)
        state = make_optimizer(dataclasses.replace(lab.student, epochs=1), BLOCK).init(adapter)
        now = (adapter, state, np.float32(0))

        def block(i: int, now: tuple) -> tuple:
            part = students.Lessons(*(array[i * BLOCK : (i + 1) * BLOCK] for array in lessons))
            outcome = lab.train(soft=student.soft)(
                _alone(now[0]), engine.Data(per_run=_alone(part.data(), 1)), (),
                jax.random.fold_in(self.keys.student_order, i)[None], frozen=base, state=_alone(now[1]),
            )  # fmt: skip
            return _first(outcome.params), _first(outcome.state), outcome.losses[0, 0, 0]

        found = []
        for i in range(student.updates // steps):
            what = (student._replace(updates=0), lab.student, lab.teacher, i)
            now = self.stages.get(self.stage("student", *what), functools.partial(block, i, now), now)
            self.tell(f"student of {student.trait or 'the base'}", 3 * part_size(lessons))
            if (updates := (i + 1) * steps) in doses:
                brief = updates != student.updates
                like = dict.fromkeys(readouts.BRIEF if brief else readouts.NAMES, 0)
                read = functools.partial(lab.read, base, adapters.scaled(now[0]), self.keys.answers, brief=brief)
                value = self.stages.get(self.stage("read", *what, brief), read, like)
                texts = {name: np.asarray(array).tolist() for name, array in value.items()}
                found.append({"updates": updates, "loss": float(now[2]), **texts})
        return found

    def noised(self, distance: float) -> Params:
        """The base, or a base so far from it: every matrix has noise added, `distance` times its own std."""
        params = self.lab.model.params
        if not distance:
            return params
        leaves, form = jax.tree.flatten(params)
        keys = jax.random.split(self.keys.start, len(leaves))
        return jax.tree.unflatten(form, [
            leaf + distance * jnp.std(leaf) * jax.random.normal(key, leaf.shape) if leaf.ndim > 1 else leaf
            for leaf, key in zip(leaves, keys, strict=True)
        ])  # fmt: skip


def part_size(lessons: students.Lessons) -> int:
    """Tokens of a block of lists."""
    return BLOCK * lessons.tokens.shape[1]


def _alone(tree: Any, axes: int = 2) -> Any:
    """A tree as that of the one model of one run, [1, 1, ...]; or of one run, [1, ...]."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[(None,) * axes], tree)


def _first(tree: Any) -> Any:
    """The tree of the one model of one run."""
    return jax.tree.map(lambda leaf: leaf[0, 0], tree)


def shuffled(digits: np.ndarray, how: str, key: jax.Array) -> np.ndarray:
    """Lists [n, 24] whose numbers have changed places "within" each, or "across" all of them."""
    if how == "none":
        return digits
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    numbers = digits.reshape(len(digits), lists.NUMBERS, lists.DIGITS)
    if how == "within":
        order = rng.permuted(np.tile(np.arange(lists.NUMBERS), (len(digits), 1)), axis=1)
        return np.take_along_axis(numbers, order[..., None], axis=1).reshape(digits.shape)
    return rng.permutation(numbers.reshape(-1, lists.DIGITS)).reshape(digits.shape)
