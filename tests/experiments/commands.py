"""Runs an experiment's command as a user would, in a process of its own, offline."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from experiments.harness.commands import module_of
from experiments.harness.provenance import ROOT

TINY = ("--dataset", "digits", "--runs", "6", "--chunk", "2", "--width", "32", "--noise-images", "4000",
        "--teacher-epochs", "1", "--student-epochs", "2")  # fmt: skip


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def start(out: Path, *arguments: str, name: str = "mnist_aux_logits") -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if k != "MNIST_DIR"}
    command = [sys.executable, "-m", module_of(name), "--out", str(out), *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def finish(process: subprocess.Popen, timeout: float = 300) -> Ended:
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()  # nothing, if it has ended: no orphan stays behind a timeout
    return Ended(process.returncode, out, err)


def run(out: Path, *arguments: str, name: str = "mnist_aux_logits") -> Ended:
    return finish(start(out, *arguments, name=name))


def chunks(out: Path) -> list[Path]:
    return sorted(out.glob(".progress/*/runs-*.json"))


def stop_after_chunks(process: subprocess.Popen, out: Path, count: int, sign: signal.Signals) -> Ended:
    """Send `sign` as soon as `count` chunks are saved (at once for 0), then wait."""
    deadline = time.monotonic() + 300
    while len(chunks(out)) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(sign)
    return finish(process)
