"""List the commands: `python -m experiments`. Run one: `subliminal-toy NAME [flags]`, like `-m experiments.NAME`."""

import difflib
import runpy
import sys

from experiments.harness import commands as harness

HELP = ("-h", "--help")


def commands() -> dict[str, str]:
    """The question that each command answers, by its name: the first line of its file. Nothing is imported."""
    return {name: harness.question(module) for name, module in harness.modules().items()}


def main(arguments: list[str] | None = None) -> None:
    """Run the command that is named first, with the flags after it; list all without a name."""
    arguments = sys.argv[1:] if arguments is None else arguments
    known = commands()
    if not arguments or arguments[0] in HELP:
        print("python -m MODULE [flags]; --help lists its flags. MODULE is one of\n")
        lines = {harness.module_of(name): question for name, question in known.items()}
        width = max(map(len, lines))
        print("\n".join(f"  {module:{width}}  {question}" for module, question in lines.items()))
        return
    name, flags = arguments[0], arguments[1:]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "`python -m experiments` lists them"
        sys.exit(_refuse(f"there is no command {name!r}; {hint}"))
    module = harness.module_of(name)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _refuse(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


if __name__ == "__main__":
    main()
