"""The chart of a table's runs."""

import json
import re

import pytest

from attnorm.reproduction import curves


@pytest.mark.parametrize(("name", "panels"), [("log.jsonl", {"loss_d", "loss_g"}), ("metrics.jsonl", {"fd", "loss_d"})])
def test_metrics_are_drawn_where_there_are_some_and_else_losses(name, panels, tmp_path):
    lines = [{"step": 1, "time": 1.0, **dict.fromkeys([*panels, "grad_norm"][: 3 if "log" in name else 2], 2.0)}]
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        (tmp_path / run / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves.save_run_curves({run: tmp_path / run for run in ("a", "b", "not-begun")}, tmp_path / "curves.svg")
    said = re.findall(r"<!-- (.*?) -->", (tmp_path / "curves.svg").read_text())
    assert panels | {"a", "b"} <= set(said)
    assert not {"grad_norm", "not-begun"} & set(said)
    curves.save_run_curves({"not-begun": tmp_path / "c"}, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
