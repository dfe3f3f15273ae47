"""The benchmark's results as Markdown tables."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from experiments.harness.tables import interval_text, markdown_table


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""

    def cell(values: Sequence[float | None], digits: int, scale: float = 1.0) -> str:
        known = [v * scale for v in values if v is not None]
        return f"{median(known):.{digits}f}" if known else "-"

    columns = {"training_seconds": 1, "process_seconds": 1, "compile_seconds": 1, "teacher_epoch_seconds": 3,
               "student_epoch_seconds": 3}  # fmt: skip
    rows = [
        (row["name"], *(cell(row[name], digits) for name, digits in columns.items()),
         cell(row["peak_bytes"], 2, 2**-30),
         *(cell([accuracy[who] for accuracy in row["accuracy"]], 3) for who in ("teacher", "student_aux")))
        for row in results["contenders"]
    ]  # fmt: skip
    head = (f"{results['runs']} runs, medians of {results['repeats']}", "training s", "process s", "compile s",
            "teacher-epoch s", "student-epoch s", "peak GiB", "acc. teacher", "acc. student_aux")  # fmt: skip
    parts = [markdown_table(head, rows)]
    ratios = [(f"{r['name']}, {r['what']}", *interval_text(r["mean"], r["ci95"], 2)) for r in results["ratios"]]
    parts.append(markdown_table(("ratio of seconds", "geometric mean", "95% CI (t)"), ratios))
    gemm = results["gemm"]
    rates = [(f"matrix products, {library}: {way}", cell(values, 0))
             for library in ("xla", "blas") for way, values in gemm[library].items()]  # fmt: skip
    rates.append(("students' training, necessary FLOPs only", cell(gemm["student_gflops"], 0)))
    fractions = [key for key in ("fraction_of_xla", "fraction_of_blas") if key in gemm]
    rates += [(f"... {key.replace('_', ' ')}", f"{gemm[key]:.0%}") for key in fractions]
    parts.append(markdown_table(("float32", "GFLOP/s"), rates))
    memory = [(f"{m['runs']} runs, {m['epochs']} epochs", f"{m['peak_bytes'] / 2**30:.2f}") for m in results["memory"]]
    parts.append(markdown_table(("peak memory, jax", "GiB"), memory))
    shares = [(p["part"], f"{p['seconds_per_run']:.2f}", f"{p['share']:.0%}") for p in results["profile"]]
    parts.append(markdown_table(("where a run's time goes, jax", "s per run", "share"), shares))
    if "designs" in results:
        names = [" ".join(f"{key}={value}" for key, value in row["design"].items()) for row in results["designs"]]
        lines = [
            (f"{row['library']}: {name or 'as it is'}", cell(row.get("seconds", []), 3))
            for name, row in zip(names, results["designs"], strict=True)
        ]  # fmt: skip
        parts.append(markdown_table(("design", "student-epoch s"), lines))
    return "\n\n".join(parts)
