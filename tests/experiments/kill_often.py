"""Kill an experiment at random moments until it has finished; its results must be those of an undisturbed run.

python -m tests.experiments.kill_often --kills 10
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.experiments import commands


def results(out: Path) -> dict:
    """The JSON's config and results: provenance tells the time and so must differ."""
    document = json.loads((out / "mnist_aux_logits.json").read_text())
    return {key: document[key] for key in ("experiment", "config", "results")}


def kill_often(folder: Path, kills: int, *, runs: int = 60, seed: int = 0, say: bool = False) -> int:
    """Kill -9 `kills` times at moments spread over a whole run; return how many chunks the killed runs had saved.

    With few `runs` most of the time goes to starting, and most kills strike before the first chunk is saved.

    Raises AssertionError if the final results differ from the undisturbed run's in a single bit, or if most kills
    came after the end.
    """
    rng = random.Random(seed)
    began = time.monotonic()
    command = (*commands.TINY, "--runs", str(runs))
    ended = commands.run(folder / "calm", *command)
    assert ended.status == 0, ended.err
    whole = time.monotonic() - began
    disturbed, struck, seen = folder / "disturbed", 0, 0
    for _ in range(4 * kills):
        if struck == kills:
            break
        process = commands.start(disturbed, *command)
        delay = rng.uniform(0, whole)
        time.sleep(delay)
        process.kill()
        status = commands.finish(process).status
        if status == 0:  # had finished before: later runs can be faster than the first, which compiles
            whole = min(whole, delay)
            continue
        struck, seen = struck + 1, max(seen, len(commands.chunks(disturbed)))
        if say:
            print(f"kill {struck}: status {status}, {len(commands.chunks(disturbed))} chunks saved", flush=True)
    assert struck == kills, "most runs had finished before their kill"
    ended = commands.run(disturbed, *command)
    assert ended.status == 0, ended.err
    assert results(disturbed) == results(folder / "calm")
    assert commands.chunks(disturbed) == []
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        most = kill_often(Path(name), options.kills, seed=options.seed, say=True)
    print(f"same results after {options.kills} kills; up to {most} chunks had been saved when one struck")
    sys.exit(0)
