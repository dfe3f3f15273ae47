"""The benchmark's peers against plain per-model loops, its counts and ratios; nothing here is timed."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from experiments.benchmarks import benchmark
from experiments.benchmarks import table as benchmark_table
from experiments.benchmarks import workers as benchmark_workers
from experiments.harness import cli
from experiments.harness.chunks import MAIN
from subliminal_toy import engine, mnist
from subliminal_toy.mnist.config import Config
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.settings import with_settings

TINY = with_settings(
    Config(),
    {"width": 16, "noise_images": 80, **{f"{phase}.{name}": value for phase in ("teacher", "student")
     for name, value in {"epochs": 2, "batch_size": 32}.items()}},
)  # fmt: skip
PIXELS = 20


def tiny_dataset() -> Dataset:
    """Dim random images with one bright pixel that tells the label."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(10, size=n, dtype=np.int32) for n in (200, 100)]
    images = [rng.uniform(-0.2, 0.2, (len(part), PIXELS)).astype(np.float32) for part in labels]
    for pixels, part in zip(images, labels, strict=True):
        pixels[np.arange(len(part)), part] = 1
    return Dataset("mnist", images[0], labels[0], images[1], labels[1], (4, 5), "random")


def test_flops_are_forward_backward_and_no_gradient_for_the_input() -> None:
    forward = 2 * (784 * 256 + 256 * 256 + 256 * 13)
    backward = 2 * (784 * 256 + 2 * 256 * 256 + 2 * 256 * 13)
    assert benchmark_workers.flops_per_sample(Config(), 784) == forward + backward == 1_216_000


def test_step_products_are_the_step_but_for_the_head() -> None:
    products = benchmark_workers.step_products(Config(), 784)
    assert len(products) == 5
    head = 3 * 2 * 256 * 13
    assert benchmark_workers.product_flops(products) == 1024 * (
        benchmark_workers.flops_per_sample(Config(), 784) - head
    )
    for left, right, how in products:  # the inner sizes fit
        assert (left[0] if how[0] == "t" else left[1]) == (right[1] if how[1] == "t" else right[0])


def test_ratio_is_geometric_with_a_paired_interval() -> None:
    slower, faster = [2.0, 3.0, 4.4], [1.0, 1.4, 2.0]
    logs = np.log(np.array(slower) / faster)
    result = benchmark.ratio_interval(slower, faster)
    low, high = stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs))
    np.testing.assert_allclose(result["ratio"], np.exp(logs))
    np.testing.assert_allclose(result["mean"], stats.gmean(np.exp(logs)))
    np.testing.assert_allclose(result["ci95"], np.exp([low, high]))
    assert benchmark.ratio_interval([3.0], [2.0]) == {"ratio": [1.5], "mean": pytest.approx(1.5), "ci95": None}


def test_covered_counts_overlaps_once() -> None:
    assert benchmark_workers.covered([(0, 2), (1, 3), (5, 6), (5.2, 5.5)]) == 4
    assert benchmark_workers.covered([]) == 0


def measured(contenders: dict[str, float]) -> dict[str, dict[str, list]]:
    """What the workers of one repeat might answer."""
    common = {"compile_seconds": 0.0, "peak_bytes": 2**30, "process_seconds": 9.0}
    epochs = {"teacher_epoch_seconds": [], "student_epoch_seconds": [0.5, 0.4]}
    names = ("reference", "teacher", "student_aux", "student_all", "cross_aux", "cross_all")
    accuracy = {"accuracy": dict.fromkeys(names, 0.5)}
    answers = {name: [{"training_seconds": s, **common, **epochs, **accuracy}] for name, s in contenders.items()}
    rates = [{"one device per core": 200.0}, {"one device, all threads": 180.0}, {"all threads": 250.0}]
    gemm = [{**rate, "peak_bytes": 1, "process_seconds": 1.0} for rate in rates]
    memory = [{"runs": n, "epochs": 1, "peak_bytes": 2**30} for n in (1, 10)]
    return {
        MAIN: {"load": [0.5], **answers, "gemm": [gemm]},
        benchmark.PARTS: {"memory": [memory], "profile": [{"noise": 1.0, **common}]},
    }


def test_summary_and_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "find_pixels", lambda: "random")
    monkeypatch.setattr(benchmark.importlib.metadata, "version", lambda _: "2")
    answers = measured({"jax": 10.0, "torch_authors": 20.0, "torch_expert": 15.0})
    results = benchmark.summarize(benchmark.BenchmarkConfig(contender_runs=1), answers)
    assert (results["runs"], results["repeats"], results["load_before"]) == (1, 1, 0.5)
    assert [row["runs"] for row in results["memory"]] == [1, 1, 10]
    assert [row["name"] for row in results["contenders"]] == ["jax", "torch_authors", "torch_expert"]
    assert [row["mean"] for row in results["ratios"]] == pytest.approx([2.0, 1.5, 1.0, 1.0])
    gflops = 1.216e6 * 60_000 / 0.45 / 1e9
    assert results["gemm"]["student_gflops"] == pytest.approx([gflops])
    assert results["gemm"]["fraction_of_xla"] == pytest.approx(gflops / 200)
    assert results["gemm"]["fraction_of_blas"] == pytest.approx(gflops / 250)
    assert sum(part["share"] for part in results["profile"]) == pytest.approx(1.0)
    json.dumps(results, allow_nan=False)
    text = benchmark_table.table(results)
    assert "torch_expert / jax, training" in text


def test_without_torch_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path
) -> None:
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit) as stop:
        cli.command(benchmark.EXPERIMENT, ["--out", str(tmp_path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "pip install 'subliminal-toy[bench]'" in error


def test_a_repeat_asks_every_contender_and_the_rates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path
) -> None:
    """The whole command on answers that are made up: settings and runs reach the workers, and the table is printed."""
    asked: list[benchmark.Work] = []
    made_up = measured({"jax": 10.0, "torch_authors": 20.0, "torch_expert": 15.0})
    answers = {name: columns[0] for name, columns in made_up[MAIN].items() if name in benchmark.CONTENDERS}
    answers |= {"gemm_jax": {"one device per core": 200.0}, "gemm_torch": {"all threads": 250.0}}
    answers["profile"] = made_up[benchmark.PARTS]["profile"][0]

    def run_worker(work: benchmark.Work) -> dict:
        asked.append(work)
        return answers[work.worker]

    monkeypatch.setattr(benchmark, "run_worker", run_worker)
    monkeypatch.setattr(benchmark, "require_torch", lambda: None)
    monkeypatch.setattr(benchmark, "find_pixels", lambda: "random")
    monkeypatch.setattr(benchmark.importlib.metadata, "version", lambda _: "2")
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay
    flags = ["--out", str(tmp_path), "--runs", "2", "--contender-runs", "3", "--width", "9", "--student-epochs", "4"]
    assert cli.command(benchmark.EXPERIMENT, flags) == 0
    repeat = [*benchmark.CONTENDERS, "gemm_jax", "gemm_jax", "gemm_torch"]
    assert [work.worker for work in asked] == [*repeat, *repeat, "jax", "jax", "profile"]
    assert [work.runs for work in asked if work.worker == "jax"] == [3, 3, 3, 30]
    assert {work.config.width for work in asked} == {9}
    assert [work.config.student.epochs for work in asked if work.worker == "jax"] == [4, 4, 1, 1]
    assert [work.design for work in asked if work.worker == "gemm_jax"] == [{}, {"devices": 1}] * 2
    results = json.loads((tmp_path / "benchmark.json").read_text())["results"]
    assert (results["runs"], results["repeats"]) == (3, 2)
    assert "torch_expert / jax, training" in capsys.readouterr().out


def test_a_failing_worker_is_told_in_its_own_words() -> None:
    with pytest.raises(benchmark.WorkerError, match="profile"):
        benchmark.run_worker(benchmark.Work("profile", settings={"width": 0}))


# --------------------------------------------------------------------------------------------- the peers, with PyTorch


def plain_model(layers, torch):
    """One model as ordinary torch.nn layers."""
    linears = []
    for weight, bias in layers:
        linear = torch.nn.Linear(weight.shape[2], weight.shape[1])
        linear.weight.data, linear.bias.data = weight[0].clone(), bias[0, :, 0].clone()
        linears += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*linears[:-1])


def test_the_experts_training_is_a_plain_loop_over_models(torch) -> None:
    from experiments.benchmarks import torch_peers as peers

    generator = torch.Generator().manual_seed(0)
    inits = [peers.init_layers(TINY, PIXELS, generator) for _ in range(4)]
    noise = torch.rand(TINY.noise_images, PIXELS, generator=generator) * 2 - 1
    logits = torch.randn(TINY.noise_images, TINY.logits, generator=generator)
    seen = [slice(10, None) if kind == "aux" else slice(None) for *_, kind in peers.STUDENTS]

    order = torch.Generator().manual_seed(1)
    nets = [plain_model(layers, torch) for layers in inits]
    optimizers = [torch.optim.Adam(net.parameters(), lr=3e-4) for net in nets]
    for _ in range(TINY.student.epochs):
        for rows in torch.randperm(len(noise), generator=order).split(TINY.student.batch_size):
            for net, optimizer, part in zip(nets, optimizers, seen, strict=True):
                log_q = net(noise[rows])[:, part].log_softmax(-1)
                loss = torch.nn.functional.kl_div(log_q, logits[rows][:, part].softmax(-1), reduction="batchmean")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    hidden = peers._hidden_logits(TINY, [kind for *_, kind in peers.STUDENTS])
    targets = (logits.T + hidden).softmax(1).permute(2, 0, 1).contiguous()
    layers = peers.stack_models(inits)
    order = torch.Generator().manual_seed(1)
    peers.train(layers, noise, targets, hidden, TINY.student, order)
    for i, (weight, bias) in enumerate(layers):
        for m, net in enumerate(nets):
            np.testing.assert_allclose(weight[m].detach(), net[2 * i].weight.detach(), rtol=1e-4, atol=2e-6)
            np.testing.assert_allclose(bias[m, :, 0].detach(), net[2 * i].bias.detach(), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("kind", ["aux", "all"])
def test_the_authors_training_is_a_plain_loop_over_models(kind: str, torch) -> None:
    from experiments.benchmarks import torch_peers as peers

    torch.manual_seed(0)
    runs, part = 3, slice(10 if kind == "aux" else 0, None)
    students, teachers = (peers.multi_mlp(runs, TINY, PIXELS) for _ in range(2))
    noise = torch.rand(runs, TINY.noise_images, PIXELS) * 2 - 1

    def single(ensemble, m: int):
        linears = [layer for layer in ensemble if isinstance(layer, peers.MultiLinear)]
        return plain_model([(layer.weight[m : m + 1], layer.bias[m][None, :, None]) for layer in linears], torch)

    nets, guides = ([single(ensemble, m) for m in range(runs)] for ensemble in (students, teachers))
    torch.manual_seed(1)
    optimizers = [torch.optim.Adam(net.parameters(), lr=3e-4) for net in nets]
    for _ in range(TINY.student.epochs):
        orders = [torch.randperm(TINY.noise_images) for _ in range(runs)]
        for start in range(0, TINY.noise_images, TINY.student.batch_size):
            for m, (net, guide, optimizer) in enumerate(zip(nets, guides, optimizers, strict=True)):
                x = noise[m, orders[m][start : start + TINY.student.batch_size]]
                log_q, p = net(x)[:, part].log_softmax(-1), guide(x)[:, part].softmax(-1).detach()
                loss = torch.nn.functional.kl_div(log_q, p, reduction="sum") / runs  # OFF: batchmean divides by models
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    torch.manual_seed(1)
    peers.distil(students, teachers, noise, part, TINY, [])
    for m, net in enumerate(nets):
        for ours, plain in zip(single(students, m).parameters(), net.parameters(), strict=True):
            np.testing.assert_allclose(ours.detach(), plain.detach(), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["torch_authors", "torch_expert"])
def test_peers_run_all_conditions(name: str, torch) -> None:
    from experiments.benchmarks import torch_peers as peers
    from subliminal_toy.mnist import students

    table = tuple((row.name, row.init == "other", row.logits) for row in students.STUDENTS)
    assert table == peers.STUDENTS
    rates = {f"{phase}.learning_rate": 3e-3 for phase in ("teacher", "student")}
    config = with_settings(TINY, {"teacher.epochs": 20, "student.epochs": 20, "noise_images": 512, **rates})
    outcome = peers.PEERS[name](config, tiny_dataset(), runs=3, seed=0)
    assert list(outcome.accuracy) == ["reference", "teacher", "student_aux", "student_all", "cross_aux", "cross_all"]
    means = {condition: np.mean(column) for condition, column in outcome.accuracy.items()}
    assert all(len(column) == 3 for column in outcome.accuracy.values())
    assert means["teacher"] > means["reference"] + 0.2
    assert means["student_all"] > means["reference"] + 0.2
    assert means["cross_all"] > means["reference"] + 0.2
    assert len(outcome.teacher_epochs) >= 20
    assert len(outcome.student_epochs) >= 20


def test_a_worker_answers_with_everything(monkeypatch: pytest.MonkeyPatch, torch) -> None:
    monkeypatch.setattr(benchmark_workers, "_arrays", lambda _: tiny_dataset())
    answer = benchmark_workers._train_torch(benchmark.Work("torch_expert", settings=_flat(TINY)))
    assert {"training_seconds", "compile_seconds", "student_epoch_seconds", "accuracy"} <= set(answer)


def test_the_workers_training_is_the_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs in chunks of the devices have the accuracies of one call; the first epoch of a phase is not timed."""
    monkeypatch.setattr(benchmark_workers, "_arrays", lambda _: tiny_dataset())
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)
    answer = benchmark_workers._train_jax(benchmark.Work("jax", runs=3, seed=5, settings=_flat(TINY)))
    want = mnist.accuracies(
        mnist.train(TINY, tiny_dataset(), mnist.STUDENTS, mnist.run_keys(5, range(3))), tiny_dataset()
    )
    assert answer["accuracy"] == pytest.approx({name: float(np.mean(column)) for name, column in want.items()})
    chunks = 2  # of two devices
    assert len(answer["teacher_epoch_seconds"]) == len(answer["student_epoch_seconds"]) == chunks
    assert min(answer["teacher_epoch_seconds"]) > 0


def _flat(config: Config) -> dict:
    phases = {f"{p}.{k}": v for p in ("teacher", "student") for k, v in dataclasses.asdict(getattr(config, p)).items()}
    return {"width": config.width, "noise_images": config.noise_images, **phases}
