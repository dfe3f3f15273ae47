"""Chunks on a Dask cluster: one task each, so that a worker that dies costs one chunk, which another one takes up.

What a worker is sent is small and of plain types: the names of experiment and job, settings, seed, numbers of runs. It
must have the same code and libraries, which is checked, and loads the data set itself.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.harness import commands, compiled, provenance
from experiments.harness.chunks import Chunk, Columns, Done
from experiments.harness.progress import say
from subliminal_toy import engine, machine, settings

LOCAL_DEVICES = 4  # of each worker on this machine, at most
TIMEOUT = 20.0  # seconds in which a scheduler answers
RETRIES = 2  # of a chunk whose worker raised what another one may not; one that kills 4 workers is given up (Dask)
_ONE_AT_A_TIME = threading.Lock()  # a worker's devices have room for one chunk, however many threads it has


class ClusterError(RuntimeError):
    """There is no such cluster, or it cannot do the work; the message is one line that says what to do."""


class Task(NamedTuple):
    """A chunk as it is sent."""

    chunk: Chunk  # without its config
    settings: dict[str, Any]
    devices: int  # that the driver has: results are the same to the last bit where workers have as many
    version: str


class Answer(NamedTuple):
    """What comes back; `failed` is why a run cannot go on, which no other worker would change."""

    values: Columns
    seconds: float
    device: str
    failed: str = ""


def compute(address: str, chunks: Sequence[Chunk]) -> Iterator[Done]:
    """Compute chunks on a cluster, in the order in which they are finished.

    Args:
        address: of a scheduler, "tcp://10.0.0.1:8786"; or "local": workers on this machine, for this call.
        chunks: what to compute.

    Raises:
        ClusterError: it cannot be reached, or has other code. RunFailedError: a run, or one worker after the other.
    """
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(
            "--cluster needs Dask: in the project's folder, python -m pip install -e '.[cluster]'"
        ) from error
    tasks = [_task(chunk) for chunk in chunks]
    with _logs_off(), _main_not_run_again(), _connected(distributed, address) as client:
        if address != "local" and not client.scheduler_info()["workers"]:
            say(f"the scheduler at {address} has no workers yet: waiting for one (docs/cluster.md: how to start it)")
        futures = client.map(work, tasks, pure=False, retries=RETRIES)
        whose = dict(zip((future.key for future in futures), chunks, strict=True))
        try:
            for future in distributed.as_completed(futures):
                answer = _answer(future, address)
                yield Done(whose[future.key], answer.values, answer.seconds, answer.device)
                future.release()
        finally:
            client.cancel(futures, force=True)


@contextlib.contextmanager
def _logs_off() -> Iterator[None]:
    """Leave out the pages that Dask logs of what ends in one line here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _main_not_run_again() -> Iterator[None]:
    """Let worker processes start without running the user's script first, which may have no `__main__` guard.

    They need nothing of it: what they are sent is of plain types, and experiments are imported by name.
    """
    main = sys.modules["__main__"]
    held: dict[str, Any] = {name: value for name, value in vars(main).items() if name in ("__spec__", "__file__")}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(held)


def _task(chunk: Chunk) -> Task:
    plain, module = dataclasses.replace(chunk, config=None), commands.module_of(chunk.experiment)
    values, devices = settings.setting_values(chunk.config), len(jax.local_devices())
    return Task(plain, values, devices, provenance.code_version(module))


def _connected(distributed: Any, address: str) -> Any:
    """A client, as a context manager that leaves nothing behind."""
    if address == "local":
        return _with_workers_here(distributed)
    try:
        return distributed.Client(address, timeout=TIMEOUT)
    except Exception as error:  # a timeout is an OSError; a transport that is not installed raises what it likes
        why = " ".join(str(error).split())
        raise ClusterError(f"no Dask scheduler answers at {address} ({why[:100]}); is it running?") from error


def _with_workers_here(distributed: Any) -> Any:
    """A client with workers on this machine. Ctrl-C is for this process alone: a terminal sends it to all of them."""

    def start() -> Any:
        if sys.platform != "win32":
            resource_tracker.ensure_running()  # when it is started later, it unblocks the signal
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in this thread, and in all that it starts
        return distributed.Client(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # no dashboard, but it takes a port all the same
            silence_logs=logging.CRITICAL,
        )

    workers = max(2, machine.count_cores() // len(jax.local_devices()))
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        return pool.submit(start).result()
    finally:
        pool.shutdown(wait=False)


def _answer(future: Any, address: str) -> Answer:
    try:
        answer = future.result()
    except (ClusterError, KeyboardInterrupt):
        raise
    except ImportError as error:
        again = "install this version of the project and of its libraries there"
        raise ClusterError(f"a worker of {address} cannot compute this ({error}); {again}") from error
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise engine.RunFailedError(f"the cluster gave up a chunk ({said[:200]}); see the workers' logs") from error
    if answer.failed:
        raise engine.RunFailedError(answer.failed)
    return answer


def work(task: Task) -> Answer:
    """Compute a chunk; what a worker does."""
    if (own := provenance.code_version(commands.module_of(task.chunk.experiment))) != task.version:
        what = "another version of the project, its libraries or JAX's switches (JAX_..., XLA_FLAGS)"
        raise ClusterError(f"a worker has {what}: {own}, not {task.version}")
    with _ONE_AT_A_TIME:
        _use_devices(task.devices)
        compiled.keep()
        experiment = _experiment(task.chunk.experiment)
        config = settings.with_settings(experiment.config_class()(), task.settings)
        dataset = (
            _dataset(experiment.side.data.load, config.dataset, task.chunk.data_dir) if experiment.side.data else None
        )
        began = time.monotonic()
        try:
            job = _jobs(experiment.name, config)[task.chunk.job]
            values = job.compute(dataclasses.replace(task.chunk, config=config), dataset, lambda _work, _text: None)
        except engine.RunFailedError as error:
            return Answer({}, 0.0, "", str(error))
        return Answer(values, time.monotonic() - began, provenance.device())


@functools.lru_cache(maxsize=4)  # what the chunks of one job compiled, the next ones need not
def _jobs(experiment: str, config: Any) -> dict[str, Any]:
    return {job.name: job for job in _experiment(experiment).jobs(config)}


@functools.lru_cache(maxsize=2)
def _dataset(load: Callable[[str, Path | None], Any], name: str, folder: Path | None) -> Any:
    return load(name, folder)


def _experiment(name: str) -> Any:
    return importlib.import_module(commands.module_of(name)).EXPERIMENT


def _use_devices(count: int) -> None:
    """As many CPU devices as the driver has, if JAX has not started; a GPU's devices are what they are."""
    if getattr(jax.config, "jax_num_cpu_devices") != count:  # noqa: B009 - mypy does not know it
        try:
            jax.config.update("jax_num_cpu_devices", count)
        except RuntimeError as error:
            raise ClusterError("a worker has computed with another number of devices: restart it") from error
