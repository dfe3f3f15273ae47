"""The README's numbers come from committed results: each stands between two comments, the first naming its source.

    <!-- mnist_aux_logits:results.conditions[name=student_aux].mean:.3f -->0.534<!-- -->

`python -m tests.readme_numbers` writes the current values into the README; a test holds that nothing would change.
"""

import json
import re

from experiments.harness.provenance import ROOT

README = ROOT / "README.md"
RESULTS = ROOT / "experiments" / "results"
_MARK = re.compile(r"<!-- ([\w/]+:[^:>]+:[^: >]+) -->(.*?)<!-- -->")
_STEP = re.compile(r"(\w+)(?:\[(\w+)=([^\]]+)\])?")


def claims(text: str) -> list[tuple[str, str]]:
    """(reference, what is shown) of every marked number."""
    return _MARK.findall(text)


def look_up(reference: str) -> str:
    """The formatted value of `<file>:<key.key[name=x].key>:<format>`; list items by position or by a field."""
    name, path, form = reference.split(":")
    value = json.loads((RESULTS / f"{name}.json").read_text())
    for key, field, wanted in _STEP.findall(path):
        value = value[int(key)] if isinstance(value, list) else value[key]
        if field:
            value = next(row for row in value if row[field] == wanted)
    if form.endswith("min"):  # seconds, shown as minutes
        return format(value / 60, form.removesuffix("min"))
    if form.endswith("GiB"):  # bytes
        return format(value / 2**30, form.removesuffix("GiB"))
    return format(value, form)


def fill(text: str) -> str:
    """`text` with every marked number looked up."""
    return _MARK.sub(lambda mark: f"<!-- {mark[1]} -->{look_up(mark[1])}<!-- -->", text)


if __name__ == "__main__":
    README.write_text(fill(README.read_text()))
