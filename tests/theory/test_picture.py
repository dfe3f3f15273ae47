"""The picture of phi in theory/README.md shows the numbers that it speaks of (B1, C4)."""

import re
from pathlib import Path

import numpy as np
import pytest

PICTURE = (Path(__file__).parents[2] / "theory/phi.svg").read_text()
ORIGIN, UNIT = np.array([50, 150]), np.array([150, -60])  # pixels of 0, and of one unit of eps and of phi


def _curve(name: str) -> np.ndarray:
    (path,) = re.findall(rf'id="{name}" d="([^"]+)"', PICTURE)
    return (np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", path), float) - ORIGIN) / UNIT


@pytest.mark.parametrize(
    ("name", "curve"),
    [("phi", lambda e: 2 * np.sin(e)), ("slope", lambda e: 2 * e), ("parabola", lambda e: 2 * e - e**2)],
)
def test_curves_are_those_of_the_sine(name, curve):
    eps, height = _curve(name).T
    np.testing.assert_allclose(height, curve(eps), atol=0.01)
    assert eps[-1] > 1


def test_marks_are_the_proved_radius_and_the_change_of_sign():
    marks = [float(x) for x in re.findall(r'circle cx="([\d.]+)"', PICTURE)]
    np.testing.assert_allclose((np.array(marks) - 50) / 150, [2, np.pi], atol=0.001)
