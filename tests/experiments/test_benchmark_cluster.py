"""The cluster's benchmark: what its times say, and a real one on two cores."""

import json
import sys
from pathlib import Path

import pytest

from experiments.benchmarks import benchmark_cluster
from experiments.harness import cli
from subliminal_toy import engine, machine, mnist


def test_speedup_and_idle_time_of_known_times() -> None:
    one = [{"seconds": 10.0, "computing": [4.0, 5.0]}, {"seconds": 20.0, "computing": [20.0]}]
    two = [{"seconds": 5.0, "computing": [4.0, 5.0]}, {"seconds": 20.0, "computing": [10.0, 10.0]}]
    found = benchmark_cluster.summarize(mnist.Config(), {"main": {"1": one, "2": two}})
    assert [row["name"] for row in found["workers"]] == ["1", "2"]
    assert found["workers"][0]["idle"] == pytest.approx([0.1, 0.0])
    assert found["workers"][1]["idle"] == pytest.approx([0.1, 0.5])
    assert found["speedup"]["ratio"] == [2.0, 1.0]
    assert "| 1 worker / 2 workers |           1.41 |" in benchmark_cluster.table({"results": found})


def test_too_few_cores_end_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "count_cores", lambda: 1)
    (job,) = benchmark_cluster.jobs(mnist.config_for("digits"))
    with pytest.raises(engine.RunFailedError, match="a core for each of 2 workers"):
        job.compute(None, None, lambda _work, _text: None)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="holds processes on cores")
def test_two_workers_compute_what_one_does(tmp_path: Path) -> None:
    assert cli.command(benchmark_cluster.EXPERIMENT, ["--preset", "smoke", "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "benchmark_cluster.json").read_text())
    for row in document["results"]["workers"]:
        assert 0 <= row["idle"][0] < 0.5
