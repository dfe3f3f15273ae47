"""Run the smoke preset of every command (or of those named), two at a time; what one prints is shown if it fails."""

import concurrent.futures
import importlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDS = dict.fromkeys(("experiments.benchmarks.benchmark", "experiments.benchmarks.benchmark_lm"), ("torch",))


def main() -> int:
    """Run all of them; 1 if one failed."""
    sys.path.insert(0, str(ROOT))
    from experiments.harness import commands

    wanted = sys.argv[1:] or list(commands.modules())
    modules = [commands.modules()[name] for name in wanted]
    missing = [module for module in modules if any(_lacks(package) for package in NEEDS.get(module, ()))]
    for module in missing:
        print(f"{module}: left out, it needs {', '.join(NEEDS[module])}", flush=True)
    with tempfile.TemporaryDirectory() as out, concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda module: _smoke(module, out), [m for m in modules if m not in missing]))
    return 0 if done and all(done) else 1


def _lacks(package: str) -> bool:
    return importlib.util.find_spec(package) is None


def _smoke(module: str, out: str) -> bool:
    images = importlib.import_module(module).EXPERIMENT.side.data is not None
    flags = ["--preset", "smoke", "--out", out, *(["--dataset", "digits"] if images else [])]
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-m", module, *flags], cwd=ROOT, capture_output=True, text=True)
    good = ended.returncode == 0 and "Warning" not in ended.stderr
    word = "passed" if good else f"FAILED with status {ended.returncode}"
    print(f"{module}: {word}, {time.monotonic() - began:.0f} s", flush=True)
    if not good:
        print(ended.stdout, ended.stderr, flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
