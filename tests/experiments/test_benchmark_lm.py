"""PyTorch's language model is the one in JAX: logits, training steps and samples; the benchmark's counts and ratios."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.benchmarks import benchmark, benchmark_lm
from experiments.benchmarks import lm_workers as benchmark_lm_workers
from experiments.benchmarks.workers import Work, product_flops, xla_seconds
from experiments.harness import cli
from subliminal_toy import engine
from subliminal_toy.lm import corpus, pipeline, sampling, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.transformer import make_transformer
from subliminal_toy.settings import setting_values, with_settings
from subliminal_toy.training import make_optimizer

TINY = with_settings(LMConfig(), {"width": 8, "heads": 2, "documents": 12, "rows": 12})
STEPS = 3  # over the same documents, in one batch


def lists(documents: int) -> np.ndarray:
    """Number documents, [documents, T]."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, vocabulary.SIZE, (documents, corpus.LENGTH))
    lengths = rng.integers(corpus.PROMPT_LENGTH + 3, corpus.LENGTH, documents)[:, None]
    at = np.arange(corpus.LENGTH)
    ended = np.where(at == lengths, vocabulary.ID[vocabulary.END], vocabulary.ID[vocabulary.PAD])
    return np.where(at < lengths, tokens, ended)


def random_params(config: LMConfig) -> dict:
    """Parameters of which none is 0 or 1, as some are by their init, so that each of them matters."""
    shapes, rng = jax.eval_shape(make_transformer(config).init, jax.random.key(0)), np.random.default_rng(1)
    return jax.tree.map(lambda leaf: 0.7 * rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_those_of_jax(tied: bool, torch) -> None:
    from experiments.benchmarks import torch_lm

    config, tokens = dataclasses.replace(TINY, tied=tied, layers=2), lists(5)
    params = random_params(config)
    apply = jax.jit(make_transformer(config).apply, static_argnums=2)
    peer = torch_lm.make_model(config, params)
    for first in (0, corpus.PROMPT_LENGTH):
        want = apply(params, jnp.asarray(tokens), first)
        got = peer(torch.tensor(tokens), first=first).detach()
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("phase", ["base", "student"])
def test_training_steps_are_those_of_jax(phase: str, torch) -> None:
    from experiments.benchmarks import torch_lm

    how = dataclasses.replace(getattr(TINY, phase), epochs=STEPS, batch_size=12, warmup=2)
    first, weigh = {"base": (1, training.document_weights),
                    "student": (corpus.PROMPT_LENGTH, training.completion_weights)}[phase]  # fmt: skip
    tokens, model = lists(12), make_transformer(TINY)
    weights = weigh(jnp.asarray(tokens))
    params = start = random_params(TINY)
    loss, optimizer = training.token_loss(model, first), make_optimizer(how, len(tokens))

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params, {"tokens": jnp.asarray(tokens), "weights": weights}, ())
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value, optax.tree.norm(grads)

    state, losses = optimizer.init(params), []
    for _ in range(STEPS):
        params, state, value, norm = step(params, state)
        losses.append(value)
        assert norm > how.clip  # so that clipping is part of what is compared

    peer = torch_lm.make_model(TINY, start)
    rates = benchmark_lm_workers.learning_rates(how, len(tokens))
    assert len(set(rates)) > 1
    got = torch_lm.train(
        peer, torch.tensor(tokens), torch.tensor(np.asarray(weights)), how, rates,
        generator=torch.Generator().manual_seed(0), first=first,
    )  # fmt: skip
    np.testing.assert_allclose(got, losses, rtol=1e-5)
    want, begun = torch_lm.from_jax(params), torch_lm.from_jax(start)
    assert set(want) == set(peer.state_dict())
    for name, value in peer.state_dict().items():
        moved = (want[name] - begun[name]).abs().max()
        assert moved > 0
        np.testing.assert_allclose(value, want[name], rtol=1e-4, atol=float(1e-3 * moved), err_msg=name)


def test_greedy_samples_with_a_cache_are_those_of_jax(torch) -> None:
    from experiments.benchmarks import torch_lm

    model, prompts = make_transformer(TINY), lists(40)[:, : corpus.PROMPT_LENGTH]
    params = random_params(TINY)
    params["unembedding"]["kernel"][:, vocabulary.ID[vocabulary.END]] *= 6  # a likely token
    want = jax.jit(lambda p, x: sampling.sample(model, p, x, temperature=0, key=jax.random.key(0)))(
        params, jnp.asarray(prompts)
    )
    peer = torch_lm.make_model(TINY, params)
    got = torch_lm.sample(peer, torch.tensor(prompts), temperature=0, generator=torch.Generator())
    np.testing.assert_array_equal(got, want)
    ends = np.asarray(want == vocabulary.ID[vocabulary.END]).any(axis=1)
    assert 0 < ends.sum() < len(ends)  # some have padding, some do not
    assert len(np.unique(want)) > 5


@pytest.mark.parametrize("draw", ["multinomial", "inverse_cdf"])
def test_sampled_tokens_have_the_models_probabilities(draw: str, torch) -> None:
    from experiments.benchmarks import torch_lm

    n, temperature = 20_000, 0.7
    prompt = lists(1)[:, : corpus.PROMPT_LENGTH]
    peer, generator = torch_lm.make_model(TINY, random_params(TINY)), torch.Generator().manual_seed(0)
    with torch.inference_mode():
        p = (peer(torch.tensor(prompt))[0, -1].double() / temperature).softmax(-1).numpy()
    how = {"temperature": temperature, "generator": generator, "draw": draw, "length": 1}
    tokens = torch_lm.sample(peer, torch.tensor(prompt).expand(n, -1), **how)
    counts = np.bincount(tokens[:, 0], minlength=len(p))
    errors = (counts - n * p) / np.sqrt(n * p * (1 - p))
    assert np.abs(errors[n * p > 5]).max() < 5
    assert np.mean(errors[n * p > 5] ** 2) == pytest.approx(1, abs=0.4)


def test_products_of_a_step_are_its_flops() -> None:
    config = LMConfig()
    (steps, products), = benchmark_lm_workers.task_products(config)["students"]  # fmt: skip
    assert steps == 5 * 40
    rows, seen = 100 * 23, 100 * 14
    attention = 2 * 100 * 23 * 23 * 32
    forward = 2 * (rows * (32 * 96 + 32 * 32) + attention + seen * (2 * 32 * 128 + 32 * vocabulary.SIZE))
    assert product_flops(products) == 6 * 3 * forward
    for left, right, how in products:  # the inner sizes fit
        assert left[-2 if how[0] == "t" else -1] == right[-1 if how[1] == "t" else -2]
        assert left[0] == right[0]


def test_products_of_sampling_are_those_of_prompts_and_of_single_positions_without_their_attention() -> None:
    (prompts, read), (steps, single) = benchmark_lm_workers.task_products(LMConfig())["sampling"]
    n, layer, last = 4800, 32 * 96 + 32 * 32, 2 * 32 * 128 + 32 * vocabulary.SIZE
    assert (prompts, steps) == (3, 3 * 13)
    assert product_flops(read) == 2 * n * (10 * layer + 2 * 10 * 10 * 32 + last)
    assert product_flops(single) == 2 * n * (layer + last)


def test_tokens_are_rows_times_positions() -> None:
    sizes = benchmark_lm_workers.tokens(LMConfig(), 2)
    assert sizes == {"base": 2 * 2 * 102_400 * 24, "students": 2 * 6 * 5 * 4000 * 24, "sampling": 2 * 3 * 4800 * 14}


def test_settings_travel_to_workers() -> None:
    settings = json.loads(json.dumps(setting_values(TINY)))
    assert with_settings(LMConfig(), settings) == TINY


def test_summary_and_table() -> None:
    seconds = dict(zip(benchmark_lm.CONTENDERS, ([2.0, 1.0], [8.0, 4.0], [6.0, 3.0], [1.0, 0.5]), strict=True))
    measured = {
        name: [
            {"seconds": dict.fromkeys(benchmark_lm.TASKS, s), "compile_seconds": dict.fromkeys(benchmark_lm.TASKS, 0.5),
             "loss": {"base": 5.0, "students": 4.0}, "flops": dict.fromkeys(benchmark_lm.TASKS, 3e9),
             "peak_bytes": 2**30} for s in own
        ] for name, own in seconds.items()
    }  # fmt: skip
    results = benchmark_lm.compare(measured, {"base": 10, "students": 20, "sampling": 30})
    json.dumps(results, allow_nan=False)
    assert [row["tokens_per_second"] for row in results["contenders"][:3]] == [[5, 10], [10, 20], [15, 30]]
    assert [row["mean"] for row in results["ratios"]] == pytest.approx([4, 3] * 3)
    assert [row["fastest_peer"] for row in results["ratios"]] == [False, True] * 3
    assert [row["share"]["mean"] for row in results["limit"]] == pytest.approx([0.5] * 3)
    assert results["limit"][0]["gflops"] == [3, 6]
    text = benchmark_lm.table({"results": {**results, "repeats": 2, "side_by_side": 2}})
    assert "| students, torch_expert / jax (the faster one) |" in text
    assert text.count("| sampling") == 6


def test_without_torch_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path
) -> None:
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay
    with pytest.raises(SystemExit) as stop:
        cli.command(benchmark_lm.EXPERIMENT, ["--out", str(tmp_path)])
    assert stop.value.code == 2
    started, error = capsys.readouterr().err.splitlines()
    assert started == "benchmark_lm: started"
    assert "pip install 'subliminal-toy[bench]'" in error


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Work on data that needs no compiling; the tests' devices stay."""

    def problem(config: LMConfig, mesh, runs, seed: int) -> benchmark_lm_workers.Problem:
        keys = engine.run_keys(pipeline.RunKeys, seed, runs)
        models = jax.tree.map(lambda leaf: np.stack([leaf] * benchmark_lm_workers.STUDENTS)[None], random_params(TINY))
        rows = np.stack([lists(config.rows)] * benchmark_lm_workers.STUDENTS)[None]
        prompts = rows[:, 0, :, : corpus.PROMPT_LENGTH]
        return benchmark_lm_workers.Problem(keys, models, *(jnp.asarray(part) for part in (rows[:, 0], rows, prompts)))

    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)
    monkeypatch.setattr(benchmark_lm_workers, "make_problem", problem)
    return {**setting_values(TINY), "base.batch_size": 6, "student.batch_size": 6}


@pytest.mark.parametrize("name", benchmark_lm.PEERS)
def test_torch_workers_do_all_tasks(name: str, small: dict, torch) -> None:
    _, worker, design = benchmark_lm.CONTENDERS[name]
    one_thread_each = {**design, "workers": 0, "first": 0}
    answer = benchmark_lm_workers.WORKERS[worker](Work(worker, 1, settings=small, design=one_thread_each))
    assert all(answer["seconds"][task] > 0 for task in benchmark_lm.TASKS)
    assert answer["loss"] == {"base": pytest.approx(10, abs=5), "students": pytest.approx(10, abs=5)}


def test_the_jax_worker_times_every_task_once_it_is_compiled(monkeypatch: pytest.MonkeyPatch, small: dict) -> None:
    calls = []

    def phase(loss: float):
        def train(params, data: engine.Data, conditions, keys) -> engine.Outcome:
            calls.append(loss)
            return engine.Outcome(params, np.full((2, 1, 3), loss), None)

        return train

    monkeypatch.setattr(training, "train_bases", lambda *_: phase(5.0))
    monkeypatch.setattr(training, "train_students", lambda *_: phase(4.0))
    monkeypatch.setattr(sampling, "sample", lambda _model, _params, prompts, **_: prompts + 1)
    answer = benchmark_lm_workers.WORKERS["jax"](Work("jax", 1, settings=small, design={"first": 0}))
    assert calls == [5, 5, 4, 4]
    assert answer["loss"] == {"base": 5, "students": 4}
    assert answer["compile_seconds"]["sampling"] > 0
    assert set(answer["seconds"]) == set(benchmark_lm.TASKS)


def test_the_limit_is_the_time_of_all_products(monkeypatch: pytest.MonkeyPatch, small: dict) -> None:
    monkeypatch.setattr(benchmark_lm_workers, "xla_seconds", lambda products, _: 1e-9 * product_flops(products))
    answer = benchmark_lm_workers.WORKERS["gemm"](Work("gemm", 2, settings=small))
    for task, seconds in answer["seconds"].items():
        assert seconds == pytest.approx(1e-9 * answer["flops"][task])
    shapes = [((2, 3, 4), (2, 4, 5), "nn"), ((2, 3, 4), (2, 3, 5), "tn"), ((2, 3, 4), (2, 5, 4), "nt")]
    assert xla_seconds(shapes, engine.run_mesh(1)) > 0
    assert product_flops(shapes) == 2 * 2 * (3 * 4 * 5 + 4 * 3 * 5 + 3 * 4 * 5)
