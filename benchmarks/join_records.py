"""Joins records of layer.py: python benchmarks/join_records.py OUT.json IN.json IN.json …

Whether a result gets fresh pages, and with them page faults, depends on the state of the process's allocator, which
lasts as long as the process. So a record for the documentation has the rounds of several processes.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from cyclopts import App

from attnorm.bench import BASELINE, write_json

app = App()


def key(one: dict[str, Any], name: str | None = None) -> tuple[int, str, str]:
    return one["size"], one["mode"], name or one["name"]


@app.default
def main(out: Path, *records: Path) -> None:
    """Writes the rounds of all records, which have the same settings, as one record.

    Args:
        out: file to write.
    """
    reports = [json.loads(path.read_text()) for path in records]
    found = [{key(one): one for one in report["results"]} for report in reports]
    results = []
    for name, one in found[0].items():
        pairs = [(each[name]["times"], each[key(one, BASELINE)]["times"]) for each in found if name in each]
        times = [time for own, _ in pairs for time in own]
        ratios = [a / b for own, base in pairs for a, b in zip(own, base, strict=False)]  # within a round of a process
        results.append(one | {"times": times, "median": statistics.median(times), "ratio": statistics.median(ratios)})
    rounds = {"rounds": sum(report["settings"]["rounds"] for report in reports), "processes": len(reports)}
    write_json(out, reports[0] | {"settings": reports[0]["settings"] | rounds, "results": results})


if __name__ == "__main__":
    app()
