"""Writes the records of a benchmark run into docs/performance.md: python benchmarks/performance_page.py.

It replaces the chart, and the tables between `<!-- NAME -->` and `<!-- end -->`. The records are in docs/performance:
layer.json and layer-bf16.json of layer.py, train.json of training_step.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from cyclopts import App

from attnorm.bench import describe_machine

matplotlib.use("agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parents[1] / "docs"
LINES = {
    "AttentiveNorm2d": "C0",
    "regional_norm cpp": "C1",
    "instance_norm": "C2",
    "SelfAttention2d": "C3",
    "copy": "C7",
}
MODES = {"forward": "eval", "training": "forward + backward"}
SYSTEMS = {"sn-gan-star": "SN-GAN*", "sa-gan": "SA-GAN", "an-gan": "AN-GAN", "floor": "SN-GAN* + AN's arithmetic"}

app = App()


@app.default
def main(records: Path = DOCS / "performance", page: Path = DOCS / "performance.md") -> None:
    """Fills the tables and draws the chart.

    Args:
        records: folder with the JSON files.
        page: Markdown file with these comments.
    """
    reports = [json.loads((records / f"{name}.json").read_text()) for name in ("layer", "layer-bf16", "train")]
    layer, half, step = (report["results"] for report in reports)
    tables = {"layer": layer_table(layer), "operator": operator_table(layer, half), "step": step_table(step)}
    tables["machine"] = [f"{describe_machine(reports[0]['machine'])}."]
    text = page.read_text()
    for name, lines in tables.items():
        before, opening, rest = text.partition(f"<!-- {name} -->\n")
        text = before + opening + "\n".join(lines) + "\n" + rest[rest.index("<!-- end -->") :]
    page.write_text(text)
    draw(layer, page.parent / "images" / "performance.png")


def layer_table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Time and memory of the layer by map size and mode, beside its lower bounds."""
    rows = [
        "| AttentiveNorm2d | ms | × `instance_norm` | MB | copy, ms | arithmetic, ms |",
        "|---|---|---|---|---|---|",
    ]
    for mode, label in MODES.items():
        for size in sorted({one["size"] for one in results}):
            calls = {one["name"]: one for one in results if (one["size"], one["mode"]) == (size, mode)}
            ours, floors = calls["AttentiveNorm2d"], [calls.get(name) for name in ("copy", "arithmetic")]
            cells = [
                f"{label}, {size}²",
                f"{1e3 * ours['median']:.1f}",
                f"{ours['ratio']:.2f}",
                f"{ours['memory']:.0f}",
            ]
            cells += ["–" if one is None else f"{1e3 * one['median']:.2f}" for one in floors]
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def operator_table(single: Sequence[dict[str, Any]], half: Sequence[dict[str, Any]]) -> list[str]:
    """`regional_norm` in C++, forward, in both precisions, beside what bounds it."""
    sizes = sorted({one["size"] for one in single})
    rows = header("`regional_norm`, forward", sizes)
    for label, results in (("float32", single), ("bfloat16", half)):
        calls = {(one["size"], one["name"]): one for one in results if one["mode"] == "forward"}
        for name, title, text in (
            ("regional_norm cpp", f"{label}, ms (× `instance_norm`)", "{:.1f} ({:.2f})"),
            ("copy", f"copy in {label}, ms", "{:.2f}"),
            ("regional_norm arithmetic", f"arithmetic in {label}, ms", "{:.2f}"),
        ):
            if (label, name) == ("float32", "copy"):  # in the table of the layer
                continue
            found = [calls.get((size, name)) for size in sizes]
            cells = ["–" if one is None else text.format(1e3 * one["median"], one["ratio"]) for one in found]
            rows.append(f"| {title} | " + " | ".join(cells) + " |")
    return rows


def step_table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Images per second of a training step; in brackets its time over SN-GAN*'s and its speed over the plain one's. The
    last row is SN-GAN*'s step with the arithmetic of AN-GAN's layers in addition.
    """
    sizes = sorted({one["size"] for one in results})
    rows = header("images/s", sizes)
    calls = {(one["size"], one["system"], one["variant"]): one for one in results}
    for size, base in [(size, calls.get((size, "sn-gan-star", "ours"))) for size in sizes]:
        if base is not None and (more := calls.get((size, "arithmetic", "ours"))) is not None:
            times = [a + b for a, b in zip(base["times"], more["times"], strict=True)]
            calls[size, "floor", "ours"] = base | {"times": times}
    for system, label in SYSTEMS.items():
        cells = []
        for size in sizes:
            ours, base = calls.get((size, system, "ours")), calls.get((size, "sn-gan-star", "ours"))
            plain = calls.get((size, system, "plain"))
            if ours is None or base is None:
                cells.append("–")
                continue
            over = "" if plain is None else f", {ratio(plain, ours):.2f}"
            cells.append(f"{ours['batch'] / median(ours):.1f} ({ratio(ours, base):.2f}{over})")
        rows.append(f"| {label} | " + " | ".join(cells) + " |")
    return rows


def header(title: str, sizes: Sequence[int]) -> list[str]:
    return [f"| {title} | " + " | ".join(f"{size}²" for size in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]


def median(one: dict[str, Any]) -> float:
    times = sorted(one["times"])
    return float(times[len(times) // 2])


def ratio(one: dict[str, Any], base: dict[str, Any]) -> float:
    """The median over the rounds of the ratio within a round."""
    ratios = sorted(a / b for a, b in zip(one["times"], base["times"], strict=False))
    return float(ratios[len(ratios) // 2])


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Time by map size, forward, on two logarithmic axes."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name in LINES:
        points = [
            (one["size"], 1e3 * one["median"]) for one in results if (one["name"], one["mode"]) == (name, "forward")
        ]
        if points:
            axes.plot(*zip(*sorted(points), strict=True), "o-", label=name)
    sizes = sorted({one["size"] for one in results})
    axes.set(xscale="log", yscale="log", xlabel="side of the map, pixels", ylabel="forward, ms")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    app()
