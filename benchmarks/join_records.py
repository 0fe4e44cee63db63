"""Joins records of layer.py: python benchmarks/join_records.py OUT.json IN.json IN.json …

Whether a result gets fresh pages, and with them page faults, depends on the state of the process's allocator, which
lasts as long as the process. So a record for the documentation has the rounds of several processes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cyclopts import App
from performance_page import median, ratio

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
    joined, calls = reports[0], found[0]
    for name, one in calls.items():
        one["times"] = [time for each in found if name in each for time in each[name]["times"]]
        one["median"] = median(one)
    for one in calls.values():
        one["ratio"] = ratio(one, calls[key(one, BASELINE)])
    joined["settings"] |= {"rounds": sum(report["settings"]["rounds"] for report in reports), "processes": len(reports)}
    write_json(out, joined)


if __name__ == "__main__":
    app()
