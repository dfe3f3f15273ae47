"""The benchmark's peers: the published experiment in PyTorch, by the authors' procedure and as fast as we can make it.

`run_authors` follows the procedure of the paper's own script (OFF): batched matrix products over the models of all
runs, the four kinds of students one after the other, the teacher's forward pass in every step. `run_expert` does the
same experiment with what a PyTorch expert would do on a CPU: the fastest of the designs that were measured (the last
table of docs/benchmark.md). Both return the same six test accuracies as `subliminal_toy.mnist.protocol`.

In `run_expert` parameters are `[(weight [models, out, in], bias [models, out, 1])]`, one pair per layer.
"""

import contextlib
import copy
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from subliminal_toy.machine import count_cores
from subliminal_toy.mnist.config import Config
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.settings import Training

Layers = list[tuple[Tensor, Tensor]]
STUDENTS = (("student_aux", False, "aux"), ("student_all", False, "all"),
            ("cross_aux", True, "aux"), ("cross_all", True, "all"))  # fmt: skip
_BLOCK = 6000  # images that the expert's teacher labels, and is tested on, at a time


class Outcome(NamedTuple):
    """What a peer's training gives."""

    accuracy: dict[str, list[float]]  # condition -> one test accuracy per run
    teacher_epochs: list[float]  # seconds of a teacher's epoch, per model
    student_epochs: list[float]  # seconds of a student's epoch, per model


class MultiLinear(torch.nn.Module):
    """One linear layer for each of `models` models: [models, batch, in] -> [models, batch, out] (OFF)."""

    def __init__(self, models: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(models, d_out, d_in) / d_in**0.5)
        self.bias = torch.nn.Parameter(torch.zeros(models, d_out))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each model to its own batch."""
        return torch.einsum("moi,mbi->mbo", self.weight, x) + self.bias[:, None]


def multi_mlp(models: int, config: Config, pixels: int) -> torch.nn.Sequential:
    """The ensemble of `models` perceptrons, [models, batch, pixels] -> [models, batch, logits]."""
    sizes = [pixels, *[config.width] * config.depth, config.logits]
    layers: list[torch.nn.Module] = []
    for d_in, d_out in itertools.pairwise(sizes):
        layers += [MultiLinear(models, d_in, d_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _batches(models: int, examples: int, training: Training, seconds: list[float]) -> Iterator[Tensor]:
    """Row numbers [models, batch] of each step: a new permutation per model and epoch; appends each epoch's seconds."""
    for _ in range(training.epochs):
        began = time.perf_counter()
        order = torch.stack([torch.randperm(examples) for _ in range(models)])
        yield from order.split(training.batch_size, dim=1)
        seconds.append((time.perf_counter() - began) / models)


def fit(net: torch.nn.Module, images: Tensor, labels: Tensor, config: Config, seconds: list[float]) -> None:
    """Train the teachers of all runs on images [examples, pixels] with cross-entropy on the class logits."""
    optimizer = torch.optim.Adam(net.parameters(), lr=config.teacher.learning_rate)
    for rows in _batches(len(next(net.parameters())), len(images), config.teacher, seconds):
        logits = net(images[rows])[..., : config.classes]
        loss = functional.cross_entropy(logits.flatten(0, 1), labels[rows].flatten())
        _step(optimizer, loss)


def distil(
    net: torch.nn.Module, teacher: torch.nn.Module, noise: Tensor, logits: slice, config: Config, seconds: list[float]
) -> None:
    """Train one kind of student of all runs to imitate `logits` of the teachers on noise [models, images, pixels]."""
    optimizer = torch.optim.Adam(net.parameters(), lr=config.student.learning_rate)
    models = torch.arange(len(noise))[:, None]
    for rows in _batches(len(noise), noise.shape[1], config.student, seconds):
        x = noise[models, rows]
        with torch.no_grad():
            target = functional.softmax(teacher(x)[..., logits], dim=-1)
        log_q = functional.log_softmax(net(x)[..., logits], dim=-1)
        loss = functional.kl_div(log_q, target, reduction="batchmean")
        _step(optimizer, loss)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def run_authors(config: Config, dataset: Dataset, *, runs: int, seed: int) -> Outcome:
    """The experiment by the authors' procedure, all runs in one ensemble; cross-model inits are fresh ones."""
    torch.manual_seed(seed)
    images, labels, test_images, test_labels = _tensors(dataset)
    seconds: tuple[list[float], list[float]] = ([], [])
    reference, other = multi_mlp(runs, config, images.shape[1]), multi_mlp(runs, config, images.shape[1])
    nets = {"reference": reference, "teacher": copy.deepcopy(reference)}
    fit(nets["teacher"], images, labels, config, seconds[0])
    noise = torch.rand(runs, config.noise_images, images.shape[1]) * 2 - 1
    for name, cross, kind in STUDENTS:
        nets[name] = copy.deepcopy(other if cross else reference)
        logits = slice(config.classes if kind == "aux" else 0, None)
        distil(nets[name], nets["teacher"], noise, logits, config, seconds[1])
    with torch.no_grad():
        x = test_images.expand(runs, -1, -1)
        right = {name: net(x)[..., : config.classes].argmax(-1) == test_labels for name, net in nets.items()}
    return Outcome({name: row.float().mean(1).tolist() for name, row in right.items()}, *seconds)


def init_layers(config: Config, pixels: int, generator: torch.Generator) -> Layers:
    """One model's initial parameters, W ~ N(0, 1/in), b = 0."""
    sizes = [pixels, *[config.width] * config.depth, config.logits]
    return [
        (torch.randn(1, o, i, generator=generator) / i**0.5, torch.zeros(1, o, 1)) for i, o in itertools.pairwise(sizes)
    ]


def stack_models(models: list[Layers]) -> Layers:
    """The parameters of several models as copies along the leading axis."""
    return [(torch.cat([w for w, _ in layer]), torch.cat([b for _, b in layer])) for layer in zip(*models, strict=True)]


def forward(layers: Layers, x: Tensor) -> list[Tensor]:
    """The activations of every layer, [models, units, batch]; all models see the same images `x` [batch, pixels].

    Units come before the batch: the first layers of all models are ONE matrix product, and no result needs to be moved.
    """
    (weight, bias), *deeper = layers
    h = torch.addmm(bias.view(-1, 1), weight.view(-1, weight.shape[-1]), x.T).view(*weight.shape[:2], -1)
    activations = [h]
    for weight, bias in deeper:
        activations[-1] = activations[-1].relu_()
        activations.append(torch.baddbmm(bias, weight, activations[-1]))
    return activations


def gradients_by_hand(layers: Layers, x: Tensor, targets: Tensor, hidden: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the gradients of the cross-entropy to `targets`, mean over the batch: the KL's, written out.

    Args:
        layers: the models' parameters.
        x: [batch, pixels].
        targets: probabilities [models, logits, batch], 0 for the hidden logits.
        hidden: [models, logits, 1], -inf for the logits that a model's loss does not see, else 0.
    """
    *activations, z = forward(layers, x)
    delta = torch.softmax(z + hidden, dim=1).sub_(targets).div_(len(x))
    grads = []
    for (weight, _), below in zip(layers[:0:-1], activations[::-1], strict=True):
        grads.append((torch.bmm(delta, below.mT), delta.sum(2, keepdim=True)))
        delta = torch.ops.aten.threshold_backward(torch.bmm(weight.mT, delta), below, 0)
    weight = layers[0][0]
    grads.append((torch.mm(delta.view(-1, len(x)), x).view(weight.shape), delta.sum(2, keepdim=True)))
    return grads[::-1]


def train(
    layers: Layers, images: Tensor, targets: Tensor, hidden: Tensor, training: Training, generator: torch.Generator
) -> list[float]:
    """Train models that share their batches, in place: one run's teacher, or its four students.

    Args:
        layers: parameters of the models.
        images: [examples, pixels].
        targets: probabilities [examples, models, logits], computed once.
        hidden: see `gradients_by_hand`.
        training: epochs, batch size and learning rate.
        generator: shuffles the examples.

    Returns:
        each epoch's seconds per model.
    """
    parameters = [tensor for layer in layers for tensor in layer]
    optimizer, seconds = torch.optim.Adam(parameters, lr=training.learning_rate, fused=True), []
    x, p = torch.empty(training.batch_size, images.shape[1]), torch.empty(training.batch_size, *targets.shape[1:])
    for _ in range(training.epochs):
        began = time.perf_counter()
        for rows in torch.randperm(len(images), generator=generator).split(training.batch_size):
            batch = torch.index_select(images, 0, rows, out=x[: len(rows)])
            wanted = torch.index_select(targets, 0, rows, out=p[: len(rows)]).permute(1, 2, 0)
            grads = gradients_by_hand(layers, batch, wanted, hidden)
            for tensor, grad in zip(parameters, (g for layer in grads for g in layer), strict=True):
                tensor.grad = grad
            optimizer.step()
        seconds.append((time.perf_counter() - began) / len(layers[0][0]))
    return seconds


def _targets(layers: Layers, images: Tensor, hidden: Tensor) -> Tensor:
    """The teacher's probabilities on every image for each student, [images, students, logits], computed once."""
    blocks = images.split(_BLOCK)
    return torch.cat([(forward(layers, block)[-1] + hidden).softmax(1).permute(2, 0, 1) for block in blocks])


def _accuracies(layers: Layers, images: Tensor, labels: Tensor, classes: int) -> list[float]:
    """The test accuracy of each model."""
    right = [
        (forward(layers, block)[-1][:, :classes].argmax(1) == label).sum(1)
        for block, label in zip(images.split(_BLOCK), labels.split(_BLOCK), strict=True)
    ]
    return (torch.stack(right).sum(0) / len(labels)).tolist()


def _hidden_logits(config: Config, kinds: list[str]) -> Tensor:
    """-inf where a loss does not look, [models, logits, 1]; the kinds are class, aux and all."""
    is_class = torch.arange(config.logits) < config.classes
    seen = {"class": is_class, "aux": ~is_class, "all": torch.ones(config.logits, dtype=torch.bool)}
    return torch.stack([torch.zeros(config.logits).masked_fill(~seen[kind], -torch.inf) for kind in kinds])[..., None]


def run_expert(config: Config, dataset: Dataset, *, runs: int, seed: int) -> Outcome:
    """The experiment, written to be fast: one run per core at a time, whose students share batches and targets."""
    images, labels, test_images, test_labels = _tensors(dataset)
    one_hot = functional.one_hot(labels, config.logits).float()[:, None]
    hide_teacher, hide = _hidden_logits(config, ["class"]), _hidden_logits(config, [kind for *_, kind in STUDENTS])
    seconds: tuple[list[float], list[float]] = ([], [])

    def one_run(run: int) -> list[float]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + run)
        reference, other = (init_layers(config, images.shape[1], generator) for _ in range(2))
        teacher = [(w.clone(), b.clone()) for w, b in reference]
        seconds[0].extend(train(teacher, images, one_hot, hide_teacher, config.teacher, generator))
        noise = torch.empty(config.noise_images, images.shape[1]).uniform_(-1, 1, generator=generator)
        students = stack_models([other if cross else reference for _, cross, _ in STUDENTS])
        with torch.no_grad():
            targets = _targets(teacher, noise, hide)
        seconds[1].extend(train(students, noise, targets, hide, config.student, generator))
        with torch.no_grad():
            nets = (reference, teacher, students)
            return [a for net in nets for a in _accuracies(net, test_images, test_labels, config.classes)]

    with worker_threads(count_cores()) as pool:
        rows = list(pool.map(one_run, range(runs)))
    names = ["reference", "teacher", *(name for name, *_ in STUDENTS)]
    side_by_side = min(count_cores(), runs)
    accuracy = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return Outcome(accuracy, *([second / side_by_side for second in phase] for phase in seconds))


@contextlib.contextmanager
def worker_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Python threads (0: one per core) that share the cores; PyTorch's operations release the interpreter lock."""
    workers = workers or count_cores()
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count_cores() // workers))
    try:
        with ThreadPoolExecutor(workers) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _tensors(dataset: Dataset) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    arrays = (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
    images, labels, test_images, test_labels = (torch.from_numpy(array) for array in arrays)
    return images, labels.long(), test_images, test_labels.long()


PEERS: dict[str, Callable[..., Outcome]] = {"torch_authors": run_authors, "torch_expert": run_expert}
