"""README, code and tests speak of the same statements."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LABEL = re.compile(r"\b([LTRBECKPHS][1-7])\b")
TESTS_ONLY = {"E1", "E2", "C1", "C2", "C3", "C4", "C5", "C6"}  # oracles and limits: no code of their own


def _stated() -> set[str]:
    return set(re.findall(r"^\*\*([A-Z]\d)\b", (ROOT / "theory/README.md").read_text(), flags=re.MULTILINE))


def _listed() -> dict[str, str]:
    rows = re.findall(r"^\| ([A-Z]\d) \|.*-k (\w+)` \|$", (ROOT / "theory/README.md").read_text(), flags=re.MULTILINE)
    return dict(rows)


def _cited() -> set[str]:
    """Labels in the docstrings of theory/."""
    found = set()
    for path in sorted((ROOT / "theory").glob("*.py")):
        tree = ast.parse(path.read_text())
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        found |= {label for n in nodes for label in LABEL.findall(ast.get_docstring(n) or "")}
        found |= _ranges(ast.get_docstring(tree) or "")
    return found


def _ranges(text: str) -> set[str]:
    return {
        f"{a}{k}"
        for a, first, last in re.findall(r"([A-Z])(\d)-\1(\d)", text)
        for k in range(int(first), int(last) + 1)
    }


def _tested() -> set[str]:
    names = re.findall(
        r"^def test_([a-z]\d)_", "\n".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py")), re.M
    )
    return {name.upper() for name in names}


def test_every_statement_is_listed_tested_and_cited():
    stated = _stated()
    assert len(stated) >= 25
    assert set(_listed()) == stated
    assert _tested() == stated
    assert _cited() <= stated
    assert stated - _cited() <= TESTS_ONLY


def test_every_command_in_the_table_selects_its_own_tests():
    assert all(pattern == f"{label.lower()}_" for label, pattern in _listed().items())


def test_every_statement_has_a_proof():
    text = (ROOT / "theory/README.md").read_text()
    parts = re.split(r"^\*\*(?=[A-Z]\d\b)", text, flags=re.MULTILINE)[1:]
    unproved = [p[:2] for p in parts if "*Proof.*" not in p]
    assert unproved == []


def test_theory_imports_only_jax_and_the_standard_library():
    allowed = {"jax", "theory", "collections", "dataclasses", "fractions", "functools", "itertools", "math", "typing"}
    for path in sorted((ROOT / "theory").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {n.split(".")[0] for n in names} <= allowed, path
