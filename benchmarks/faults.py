"""Disturbs real runs in every way that docs/reliability.md lists, and reports the results.

    python benchmarks/faults.py [kills] [--kills 100] [--json FILE] [--markdown FILE]

It takes minutes and needs no GPU; the exit code is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import disks, kills, memory, processes

from attnorm.bench import describe_machine, machine
from attnorm.errors import UserError

PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "kills": lambda folder, args: kills.run(folder, args.kills, args.seed, args.jobs),
    "disks": lambda folder, args: disks.run(folder),
    "processes": lambda folder, args: processes.run(folder),
    "memory": lambda folder, args: memory.run(folder, args.steps),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one or more of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="kills in all (default 100)")
    parser.add_argument("--steps", type=int, default=10_000, metavar="N", help="steps of the runs of `memory`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs to kill at a time (default 1)")
    parser.add_argument("--folder", type=Path, help="folder for the runs; failed ones stay (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the summary here too")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.parts) - PARTS.keys()):
        parser.error(f"unknown part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    folder = args.folder or Path(tempfile.mkdtemp(prefix="attnorm-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    for part in args.parts or PARTS:
        if (folder / part).exists() and any((folder / part).iterdir()):
            parser.error(f"{folder / part} has the runs of an earlier call: remove it, or choose another --folder")
    for part in args.parts or PARTS:
        print(f"== {part}", flush=True)
        try:
            report[part] = PARTS[part](folder / part, args)
        except UserError as error:
            parser.error(str(error))
        except (OSError, LookupError, RuntimeError) as error:  # other parts may still work
            report[part] = {"failures": [f"stopped by an error: {error}"]}
        if args.json is not None:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
    text = summary(report)
    print(text)
    if args.markdown is not None:
        args.markdown.write_text(text)
    return int(any(report[part]["failures"] for part in PARTS if part in report))


def summary(report: dict[str, Any]) -> str:
    """The results as a Markdown table, and one line per failure."""
    found = report["machine"]
    rows = [f"{describe_machine(found)}; {found['system']}; {found['date']}", "", "| part | result |", "|---|---|"]
    for part in PARTS:
        if part in report:
            failures = report[part]["failures"]
            verdict = f"**{len(failures)} failed**" if failures else "as promised"
            said = SUMMARIES[part](report[part]) if "seconds" in report[part] else "stopped by an error"
            rows.append(f"| {part} | {verdict}: {said} |")
    rows += [f"\nFAILED {part}: {line}" for part in PARTS for line in report.get(part, {}).get("failures", [])]
    return "\n".join(rows) + "\n"


def _kills(found: dict[str, Any]) -> str:
    hits = ", ".join(f"{number} in a {name}'s" for name, number in found["by_hit"].items() if name != "between writes")
    tasks = ", ".join(f"{number} {name}" for name, number in found["by_task"].items())
    return (
        f"{found['kills']} kills ({tasks}), {found['kills_inside_a_write']} inside a write ({hits}); "
        f"{found['damaged']} damaged checkpoints; {found['runs']} runs, {found['resumes']} resumes, "
        f"{found['runs'] - len(found['failures'])} ended with the bits of undisturbed ones; "
        f"{found['seconds'] / 60:.1f} minutes"
    )


def _cases(found: dict[str, Any]) -> str:
    skipped = f"; skipped {found['skipped']}" if found["skipped"] else ""
    return f"{len(found['cases'])} cases{skipped}; {found['seconds'] / 60:.1f} minutes"


def _processes(found: dict[str, Any]) -> str:
    losses = max(
        (apart for name, apart in found["differences"].items() if "evaluation" not in name), default=float("nan")
    )
    evaluations = max(
        (apart for name, apart in found["differences"].items() if "evaluation" in name), default=float("nan")
    )
    return (
        f"{_cases(found)}; losses differ by {losses:.1e} at most, evaluations by {evaluations:.1e}; "
        f"{max(found['seconds_to_end'].values(), default=float('nan')):.0f} s until all were gone after one was killed"
    )


def _memory(found: dict[str, Any]) -> str:
    return f"{'; '.join(found['cases'])}; {found['seconds'] / 60:.1f} minutes"


SUMMARIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "kills": _kills,
    "disks": _cases,
    "processes": _processes,
    "memory": _memory,
}

if __name__ == "__main__":
    sys.exit(main())
