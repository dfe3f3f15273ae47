"""List the commands: `python -m experiments`. Run one: `subliminal-toy NAME [flags]`, like `-m experiments.NAME`."""

import difflib
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HELP = ("-h", "--help")


def commands() -> dict[str, str]:
    """The question that each command answers, by its name: the first line of its file. Nothing is imported."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(HERE.glob("[a-z]*.py"))}
    return {
        name: text.partition("\n")[0].strip('"')
        for name, text in texts.items()
        if '\nif __name__ == "__main__":\n' in text
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command that is named first, with the flags after it; list all without a name."""
    arguments = sys.argv[1:] if arguments is None else arguments
    known = commands()
    if not arguments or arguments[0] in HELP:
        width = max(map(len, known))
        print("python -m experiments.NAME [flags]; --help lists its flags. NAME is one of\n")
        print("\n".join(f"  {name:{width}}  {question}" for name, question in known.items()))
        return
    name, flags = arguments[0], arguments[1:]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "`python -m experiments` lists them"
        sys.exit(_refuse(f"there is no command {name!r}; {hint}"))
    sys.argv = [f"experiments.{name}", *flags]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


def _refuse(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


if __name__ == "__main__":
    main()
