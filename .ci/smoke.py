"""Run the smoke preset of every command with this Python, two at a time; what one prints is shown if it fails."""

import concurrent.futures
import importlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {"experiments.benchmarks.benchmark_lm": "torch"}


def main() -> int:
    """Run all of them; 1 if one failed."""
    sys.path.insert(0, str(ROOT))
    sources = {path: path.read_text("utf-8") for path in sorted(ROOT.glob("experiments/**/*.py"))}
    modules = [_module(path) for path, source in sources.items() if "\n    cli.main(EXPERIMENT)" in source]
    missing = [name for name in modules if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None]
    for name in missing:
        print(f"{name}: left out, there is no {NEEDS[name]}", flush=True)
    with tempfile.TemporaryDirectory() as out, concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: _smoke(name, out), [name for name in modules if name not in missing]))
    return 0 if done and all(done) else 1


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _smoke(module: str, out: str) -> bool:
    images = importlib.import_module(module).EXPERIMENT.side.images
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
