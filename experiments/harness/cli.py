"""The command line that all experiments share: what can be refused is refused before anything is trained."""

import argparse
import contextlib
import json
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax

from experiments.harness import chunks, cluster, commands, compiled, files, provenance
from experiments.harness.experiment import Experiment as Experiment
from experiments.harness.experiment import Preset as Preset
from experiments.harness.experiment import Request as Request
from experiments.harness.flags import BAD_INPUT, FAILED, asked, fail, make_parser, naming_flags, show
from experiments.harness.progress import Progress as Progress
from experiments.harness.progress import say
from experiments.harness.quiet_interrupt import INTERRUPTED, insist, leave
from experiments.harness.recorded import OF_A_REQUEST, flat, read_config
from subliminal_toy import engine

MOST_NAMED = 5  # settings in which results differ


def main(experiment: Experiment) -> NoReturn:
    """The command: do what its flags ask for, and exit; a Ctrl-C ends the process here and now."""
    insist()
    try:
        sys.exit(_command(experiment, sys.argv[1:]))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            leave(INTERRUPTED)
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def command(experiment: Experiment, arguments: Sequence[str]) -> int:
    """What the command does, as a call that leaves signals as they were: the exit status, or SystemExit."""
    before = signal.getsignal(signal.SIGINT)
    try:
        return _command(experiment, arguments)
    finally:
        signal.signal(signal.SIGINT, before)


def _command(experiment: Experiment, arguments: Sequence[str]) -> int:
    try:
        parser = make_parser(experiment)
    except ValueError as error:  # a word was changed that a preset names
        fail(f"the presets cannot be read: {error}", BAD_INPUT)
    options = _parsed(parser, experiment, arguments)
    options.given = list(arguments)
    options.preset = options.preset if options.preset in experiment.presets else "default"
    options.out = options.out or Path("results/smoke" if options.preset == "smoke" else "results")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    progress, options.store = Progress(quiet=False), None
    with ending_in_one_line(progress, lambda: options.store is not None and options.store.saved()):
        return _prepare(experiment, options, progress)


def _parsed(parser: argparse.ArgumentParser, experiment: Experiment, arguments: Sequence[str]) -> argparse.Namespace:
    """The flags; what they do not say, recorded results may: `--config`."""
    options = parser.parse_args(arguments)
    if options.config is None:
        return options
    if options.preset is not None:
        fail("--preset and --config both say what the settings are: leave one out", BAD_INPUT)
    try:
        recorded = read_config(options.config, experiment)
    except ValueError as error:
        fail(str(error), BAD_INPUT)
    parser.set_defaults(**{name: recorded[name] for name in OF_A_REQUEST if name in recorded}, recorded=recorded)
    return parser.parse_args(arguments)


@contextlib.contextmanager
def ending_in_one_line(progress: Progress, kept: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Ctrl-C, failed runs and too little memory end the block with one line; `kept`: whether progress is saved."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one changes nothing
        progress.close()
        then = "finished chunks are kept, and the same command goes on from there"
        say(f"stopped; {then if kept() else 'nothing was finished, so nothing is kept'}")
        sys.exit(INTERRUPTED)
    except (engine.RunFailedError, cluster.ClusterError) as error:
        progress.close()
        fail(str(error), FAILED if isinstance(error, engine.RunFailedError) else BAD_INPUT)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("RESOURCE_EXHAUSTED|Out of memory", str(error)):
            raise
        progress.close()
        fail(f"out of memory: lower --chunk or the sizes{'; finished chunks are kept' if kept() else ''}", FAILED)


def _prepare(experiment: Experiment, options: argparse.Namespace, progress: Progress) -> int:
    if not options.dry_run:
        check_out(options.out)
    try:
        dataset = experiment.side.data.load(options.dataset, options.data_dir) if experiment.side.data else None
        request = asked(experiment, options, dataset)
        here = cluster.LOCAL_DEVICES if request.cluster == "local" else None
        engine.use_cpu_cores(options.devices or here)
        engine.check_devices()
        compiled.keep()
        options.store = _open_store(experiment, options, request.config)
        request = request._replace(store=options.store, progress=progress)
        plan = plan_text(request)
    except ValueError as error:  # DataError is one
        fail(naming_flags(str(error), experiment), BAD_INPUT)
    except OSError as error:
        fail(f"cannot read {error.filename or options.data_dir}: {error.strerror}", BAD_INPUT)
    if options.dry_run:
        show(plan)
    if not options.force:
        path = options.out / f"{experiment.name}.json"
        check_overwriting(path, request.recorded(options.preset), request.usual())
    return 0 if options.dry_run else _train(request, options)


def plan_text(request: Request) -> str:
    """Describe the runs, chunks and devices, a line each; ValueError for settings that the experiment cannot use."""
    experiment, dataset, runs = request.experiment, request.dataset, request.runs
    lines = [f"runs: {runs:,} in {request.count_chunks():,} chunks, {request.saved_chunks():,} of them saved"]
    if dataset:
        lines.append(f"images: {experiment.source().titles[dataset.name]}")
        lines += [f"*** {dataset.notice} ***"] if dataset.notice else []
    lines.append(f"devices: {provenance.device()}")
    return "\n".join(lines)


def check_out(out: Path) -> None:
    """End with one line if nothing can be written to `out`."""
    try:
        files.check_writable(out)
    except OSError as error:
        fail(f"cannot write to the output folder {out}: {error.strerror}; choose another with --out", BAD_INPUT)


def check_overwriting(path: Path, config: dict[str, Any], usual: dict[str, Any] | None = None) -> None:
    """End with one line if `path` holds anything but results of the very same settings and switches.

    The preset's name may be another one. `usual` are the settings' defaults: those of a setting that is younger than
    the results in `path`.
    """
    if not path.exists():
        return
    try:
        document, switches = files.read_json(path), provenance.USUAL_SWITCHES
        old = document["config"] | document.get("provenance", {}).get("switches", {})
        new = [config | switches | provenance.switches(), (usual or {}) | switches]
        others = differences(old, *json.loads(json.dumps(new)))
        more = f"; and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        held = f"holds results of other settings ({'; '.join(others[:MOST_NAMED])}{more})" if others else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        held = "cannot be read"
    if held:
        fail(f"{path} {held}: choose another folder with --out, or overwrite it with --force", BAD_INPUT)


def differences(old: dict[str, Any], new: dict[str, Any], usual: dict[str, Any] | None = None) -> list[str]:
    """The settings in which recorded configs differ, the preset's name aside: "runs 2, not 10"; `usual` as above."""
    old, new = {**flat(usual or {}), **flat(old), "preset": None}, {**flat(new), "preset": None}
    both = [(name, *(textwrap.shorten(str(own.get(name, "unset")), 40) for own in (old, new))) for name in new | old]
    return [f"{name} {held}, not {other}" for name, held, other in both if old.get(name, ...) != new.get(name, ...)]


def _open_store(experiment: Experiment, options: argparse.Namespace, config: Any) -> chunks.ChunkStore:
    chunk = getattr(options, "chunk", None)
    what = provenance.fingerprint(commands.module_of(experiment.name), config=config, seed=options.seed, chunk=chunk)
    name = f"{experiment.name}-{what}"
    return chunks.ChunkStore(options.out / ".progress" / name, name)


def _train(request: Request, options: argparse.Namespace) -> int:
    """Train, or go on from what is saved, and write the results."""
    experiment, out, store, progress = request.experiment, options.out, request.store, request.progress
    assert store is not None
    assert progress is not None
    path, config = out / f"{experiment.name}.json", request.recorded(options.preset)
    try:
        with files.only_one(out / ".progress" / f"{experiment.name}.lock"):
            _clear_away(experiment.name, out)
            if options.fresh:
                store.clear()
                shutil.rmtree(request.stages() or "", ignore_errors=True)
            origin = provenance.Provenance(commands.module_of(experiment.name), options.given)
            if request.dataset and request.dataset.notice:
                say(f"\n*** {request.dataset.notice} ***\n")
            with ending_in_one_line(progress, store.saved):
                values = request.values()
                results, held = request.finished(values)
            progress.close()
            record = {
                "experiment": experiment.name,
                "config": config,
                "provenance": origin.record(sum(store.earlier), store.devices),
            }
            try:
                files.write_json(path, record | {"results": results})
            except ValueError:
                fail("the results hold a number that is not finite; the runs are kept, nothing is written", FAILED)
            written = [path, *(files.write(out / name, content) for name, content in held.items())]
            if experiment.rows:
                written.append(files.write_lines(out / experiment.name, experiment.rows(values)))
            pictures, trouble = _draw(experiment, out)
            store.clear()  # not before: the next start after a kill draws what is missing
    except files.BusyError:
        fail(f"another {experiment.name} is writing to {out}: wait for it, or choose another --out", BAD_INPUT)
    except OSError as error:
        progress.close()
        kept = "; what was saved before is kept" if store.saved() else ""
        fail(f"cannot write to {out}: {error.strerror or error}{kept}", FAILED)
    _print_results(experiment, record | {"results": results}, written + pictures)
    if trouble:
        fail(f"the results are written to {path}, but no figure: {trouble}", FAILED)
    return 0


def _clear_away(name: str, out: Path) -> None:
    """Remove what killed commands of this experiment left half-written."""
    for folder, stem in ((out, name), (out / name, "*"), *((own, "*") for own in out.glob(f".progress/{name}-*/**/"))):
        files.sweep(folder, stem)


def _draw(experiment: Experiment, out: Path) -> tuple[list[Path], str]:
    """Draw the figure of the results in `out`: the pictures' paths, and why there are none."""
    if not experiment.figure:
        return [], ""
    import figures  # Matplotlib is slow to import, and training does not need it

    try:
        return figures.draw(experiment.name, results=out, out=out), ""
    except KeyboardInterrupt:
        say(f"stopped; the results are written to {out / experiment.name}.json, and the same command draws them")
        sys.exit(INTERRUPTED)
    except (figures.FigureError, OSError) as error:
        return [], str(error)


def _print_results(experiment: Experiment, document: dict[str, Any], paths: list[Path]) -> None:
    """The table, what the numbers say, and all paths."""
    said = [f"\n{textwrap.fill(experiment.closing(document), 100)}\n"] if experiment.closing else []
    written = [f"wrote {path}" for path in paths]
    show("\n".join([experiment.table(document), *said, *written]), f"the results are written to {paths[0]}, but ")
