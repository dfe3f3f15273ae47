"""--cluster: two worker processes here, one killed while it trains, end with the JSON of this process alone."""

import dataclasses
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import distributed
import pytest

from experiments import mnist_aux_logits
from experiments.harness import cli, cluster
from experiments.harness.chunks import Chunk
from experiments.harness.provenance import ROOT
from subliminal_toy import engine, mnist
from subliminal_toy.settings import setting_values
from tests.experiments import commands, fake
from tests.experiments.kill_often import results

TINY = (*commands.TINY, "--runs", "10", "--student-epochs", "4")


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 there")
def test_a_worker_that_dies_costs_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed as soon as the first chunk is saved, when four are left: it has one of them."""
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay
    alone, together, killed, connect = tmp_path / "alone", tmp_path / "together", [], cluster._connected

    def connect_and_kill(*where: Any) -> Any:
        client = connect(*where)
        pids = [worker.pid for worker in client.cluster.workers.values()]
        assert client.scheduler.address.startswith("tcp://127.0.0.1:")  # nobody else can connect
        threading.Thread(target=kill, args=(pids,), daemon=True).start()
        return client

    def kill(pids: list[int]) -> None:
        while not (saved := commands.chunks(together)):
            time.sleep(0.01)
        os.kill(pids[0], signal.SIGKILL)
        killed.append((len(pids), len(saved)))

    assert cli.command(mnist_aux_logits.EXPERIMENT, ["--out", str(alone), *TINY]) == 0
    monkeypatch.setattr(cluster, "_connected", connect_and_kill)
    assert cli.command(mnist_aux_logits.EXPERIMENT, ["--out", str(together), *TINY, "--cluster", "local"]) == 0
    ((workers, saved),) = killed
    assert (workers, saved < 4) == (2, True)
    assert results(together) == results(alone)
    assert not (together / ".progress").exists()


def test_missing_dask_and_absent_schedulers_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        assert fake.command(tmp_path, "--cluster", address) == cli.BAD_INPUT
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"error: no Dask scheduler answers at {address} (")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert fake.command(tmp_path, "--cluster", "local") == cli.BAD_INPUT
    assert "pip install -e '.[cluster]'" in capsys.readouterr().err


def test_a_transport_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert fake.command(tmp_path, "--cluster", "ucx://x") == cli.BAD_INPUT
    assert "error: no Dask scheduler answers at ucx://x (" in capsys.readouterr().err.splitlines()[-1]


def test_what_dask_logs_is_left_out_of_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("distributed.client")
    with cluster._logs_off():
        log.error("pages")
    log.error("a word")
    assert caplog.messages == ["a word"]


def test_workers_do_not_run_a_script_that_has_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import multiprocessing, time\n"
        "from experiments.harness import cluster\n"
        "with cluster._main_not_run_again():\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(0,))\n"
        "    worker.start()\n"
        "    worker.join()\n"
        "print(worker.exitcode, __file__, __spec__)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"0 {script} None\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no signal masks there")
def test_ctrl_c_is_not_heard_by_workers() -> None:
    """A terminal sends it to all processes of the command; who starts them is what decides."""

    class Distributed:
        @staticmethod
        def Client(**_: object) -> list:  # noqa: N802
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return [pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, ()))]

    (blocked,) = cluster._with_workers_here(Distributed)
    assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def task(**changes: object) -> cluster.Task:
    chunk = Chunk("mnist_aux_logits", "main", None, 7, 3, 1, 2)
    settings = setting_values(mnist.config_for("digits", {"width": 9}))
    return cluster.Task(chunk, settings, 2, cluster.provenance.code_version("experiments.mnist_aux_logits"))._replace(
        **changes
    )


def test_a_worker_computes_what_it_is_told_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: what a worker does with a task."""
    seen = []

    def compute(job, chunk: Chunk, dataset: mnist.Dataset, _advance) -> dict[str, list]:
        seen.append((job.config, chunk.config, chunk.seed, chunk.first, dataset.name))
        if len(seen) == 2:
            raise engine.TrainingDivergedError("it diverged")
        return {"student_aux": [0.5]}

    monkeypatch.setattr(type(mnist_aux_logits.jobs(mnist.Config())[0]), "compute", compute)
    answer = cluster.work(task())
    assert (answer.values, answer.failed) == ({"student_aux": [0.5]}, "")
    config = mnist.config_for("digits", {"width": 9})
    ((of_job, of_chunk, *others),) = seen
    assert (of_job, others) == (config, [7, 3, "digits"])
    assert setting_values(of_chunk).items() >= setting_values(config).items()  # and those of the command itself
    assert cluster.work(task()).failed == "it diverged"  # an answer, and no error: another worker would not do better
    with pytest.raises(cluster.ClusterError, match="another version of the project"):
        cluster.work(task(version="old"))
    with pytest.raises(cluster.ClusterError, match="another number of devices: restart it"):
        cluster.work(task(devices=3))


class Future:
    """What a scheduler hands back for a task."""

    def __init__(self, result: object) -> None:
        self.answer = result

    def result(self) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_what_went_wrong_on_a_worker_is_one_line() -> None:
    good = cluster.Answer({}, 1.0, "cpu")
    assert cluster._answer(Future(good), "tcp://x") is good
    with pytest.raises(engine.RunFailedError, match=r"^it diverged$"):
        cluster._answer(Future(good._replace(failed="it diverged")), "tcp://x")
    missing = ModuleNotFoundError("No module named 'experiments'")
    with pytest.raises(cluster.ClusterError, match=r"tcp://x cannot compute this \(No module .*install this version"):
        cluster._answer(Future(missing), "tcp://x")
    with pytest.raises(engine.RunFailedError, match="gave up a chunk"):
        cluster._answer(Future(RuntimeError("4 workers\ndied")), "tcp://x")


def test_a_cluster_without_workers_says_so_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    answer = cluster.Answer({"a": [1.0]}, 0.5, "cpu")
    chunk = dataclasses.replace(task().chunk, config=mnist.config_for("digits"))
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as local:

        def start_one(line: str) -> None:
            said.append(line)
            local.scale(1)

        monkeypatch.setattr(cluster, "say", start_one)
        monkeypatch.setattr(cluster, "work", lambda _task: answer)
        (done,) = cluster.compute(local.scheduler_address, [chunk])
    assert (done.chunk, done.values) == (chunk, {"a": [1.0]})
    assert len(said) == 1
    assert "has no workers yet" in said[0]
