"""Before a run: what it will need, as text; and which flag to lower when that is too much for this machine."""

from collections.abc import Iterator
from typing import Any

import jax

from experiments.harness import provenance, sizes
from experiments.harness.experiment import Request
from experiments.harness.flags import flag
from experiments.harness.sizes import Size
from subliminal_toy import machine, settings


def plan_text(request: Request, size: Size) -> str:
    """Runs, chunks, parameters, memory and time, a line each."""
    runs, chunk = request.runs, request.chunk or len(jax.local_devices())
    in_chunks = f", in {-(-runs // chunk):,} chunks of {chunk}" if request.experiment.side.chunk_text else ""
    lines = [f"runs: {runs:,}{in_chunks}"]
    if request.dataset:
        source = request.experiment.side.data
        lines.append(f"images: {source.titles[request.dataset.name] if source else request.dataset.name}")
        lines += [f"*** {request.dataset.notice} ***"] if request.dataset.notice else []
    lines += [f"models in a run: {count} {what} of {each:,} parameters" for what, count, each in size.models]
    lines.append(f"memory: about {sizes.memory_text(size.memory)} of {sizes.memory_text(sizes.machine_memory())}")
    if saved := request.saved_chunks():
        lines.append(f"saved by an earlier start: {saved} of {request.count_chunks()} chunks")
    left = 1 - saved / request.count_chunks()
    devices = jax.local_devices()
    where = f"{len(devices)} of {machine.count_cores()} cores" if devices[0].platform == "cpu" else provenance.device()
    time = sizes.time_text(left * size.seconds)
    lines.append(f"time: about {time} on {where}, at the rates of the committed results")
    return "\n".join(lines)


def too_large(request: Request, size: Size) -> str | None:
    """One line that says what would be needed and which flag to lower; None if this machine can do it."""
    if (lacking := sizes.lacking(size)) is None:
        return None
    scarce = "memory" if size.memory > sizes.machine_memory() else "seconds"
    found = [(name, value, changed.size()) for name, value, changed in _smaller(request)]
    name, value, own = min(found, key=lambda one: getattr(one[2], scarce))
    if getattr(own, scarce) > 0.9 * getattr(size, scarce):
        return f"this needs {lacking}"
    then = f"{sizes.memory_text(own.memory)}, {sizes.time_text(own.seconds)}"
    return f"{name} needs {lacking}; lower it ({value} needs about {then})"


def _smaller(request: Request) -> Iterator[tuple[str, Any, Request]]:
    """The request with one flag at its default: (flag with its value, default, request)."""
    experiment = request.experiment
    runs = experiment.presets["default"].runs
    yield f"--runs {request.runs}", runs, request._replace(runs=runs)
    if request.chunk:
        yield f"--chunk {request.chunk}", 1, request._replace(chunk=1)
    if not experiment.flags:
        return
    standard = experiment.configure("default", {}, request.dataset.name if request.dataset else None)
    for name in settings.setting_fields(experiment.config_class()):
        value, default = (settings.setting_value(own, name) for own in (request.config, standard))
        if isinstance(value, int | float) and value != default:
            try:
                changed = settings.with_settings(request.config, {name: default})
            except ValueError:  # it does not fit the other settings
                continue
            yield f"{flag(name)} {value}", default, request._replace(config=changed)
