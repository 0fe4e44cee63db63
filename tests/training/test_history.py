"""What a run recorded, from logs in every state that a run leaves them in."""

import json

import numpy as np
import pytest

from attnorm.errors import UserError
from attnorm.training.history import as_arrays, measured_figures, read_history


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def write(path, entries, tail=""):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + tail)


def record(metric, step, values, date="2026-01-01T00:00:00"):
    return {"metric": metric, "values": values, "protocol": {"step": step}, "date": date}


def test_a_finished_run_is_read(finished_run):
    history = read_history(finished_run)
    assert set(history.log["loss_d"]) == {2, 4, 6}
    assert "generator.blocks.2.norm2.sharpness" in history.log
    assert not {"step", "time"} & set(history.log)
    assert (history.metrics, history.skipped) == ({}, [])


def test_lines_that_cannot_be_read_are_counted(run):
    text = (
        '{"step": 1, "x": 1}\nnonsense\n\n[1]\n{"x": 5}\n{"step": "?", "x": 1}\n{"step": 1e999}\n{"step": 2, "x": 2}\n'
    )
    (run / "log.jsonl").write_text(text)
    history = read_history(run)
    assert history.log == {"x": {1: 1, 2: 2}}
    assert history.skipped == [f"{run / 'log.jsonl'}: 5 of 7 lines cannot be read and are left out"]


def test_evaluations_in_lines_may_come_one_figure_a_line(run):
    write(run / "log.jsonl", [{"step": 1, "x": 1}])
    write(run / "metrics.jsonl", [{"step": 10, "fd": 9}, {"step": 10, "kid": 1}, {"step": 20, "fd": 8}], '{"step": 30')
    assert read_history(run).metrics == {"fd": {10: 9, 20: 8}, "kid": {10: 1}}


def test_null_is_a_gap_and_the_later_line_holds_with_null_too(run):
    write(run / "log.jsonl", [{"step": s, "x": x} for s, x in ((1, 1.0), (2, None), (3, 2.0), (3, None))])
    write(run / "metrics.jsonl", [{"step": 2, "fd": None}])
    history = read_history(run)
    np.testing.assert_equal(history.log, {"x": {1: 1.0, 2: np.nan, 3: np.nan}})
    np.testing.assert_equal(history.metrics, {"fd": {2: np.nan}})


def test_null_in_a_later_record_of_a_step_holds(run):
    write(run / "log.jsonl", [{"step": 1, "x": 1}])
    both = [record("fd", 20, {"value": value}, f"2026-01-0{day}") for day, value in ((1, 50.0), (2, None))]
    write(run / "metrics" / "a.json", [both])
    np.testing.assert_equal(measured_figures([read_history(run)]), [{"fd": {20: np.nan}}])


def test_records_of_evaluations_are_read_and_the_latest_of_a_step_holds(run):
    write(run / "log.jsonl", [{"step": 1, "x": 1}])
    (run / "metrics").mkdir()
    first = [record("is-5k", 20, {"mean": 3.0, "deviation": 0.1}, "2026-01-03"), record("fd", 20, {"value": 50})]
    second = [record("fd", 10, {"value": 60}, "2026-01-04"), record("is-5k", 20, {"mean": 2.0, "deviation": 0.2})]
    for name, records in (("b.json", second), ("a.json", first)):
        (run / "metrics" / name).write_text(json.dumps(records))
    assert measured_figures([read_history(run)])[0] == {
        "fd": {20: 50, 10: 60},
        "is-5k": {20: 3.0},
        "is-5k deviation": {20: 0.1},
    }


def test_records_of_inpainting_are_read(run):
    def spreads(psnr):
        return {"psnr": {"mean": psnr, "deviation": 1.0}}

    write(run / "log.jsonl", [{"step": 1, "x": 1}])
    (run / "metrics").mkdir()
    protocol = {"model": "r", "weights": "ema", "step": 20, "data": "d", "split": "d", "num": 12, "size": 32}
    entry = {
        "figures": {"centre": {"refined": spreads(21.0), "coarse": spreads(None)}},
        "protocol": {**protocol, "holes": {}, "seed": 0, "window": "gaussian"},
        "distances": {"centre": [record("fd-toy-12", 20, {"value": 50})]},
        "date": "2026-01-01",
        "versions": {},
    }
    (run / "metrics" / "a.json").write_text(json.dumps(entry))
    history = read_history(run)
    expected = {"refined.centre.psnr-12": {20: 21}, "coarse.centre.psnr-12": {20: float("inf")}}
    assert measured_figures([history]) == [{**expected, "refined.centre.fd-toy-12": {20: 50}}]
    assert history.skipped == []
    entry["protocol"]["window"] = "uniform"
    (run / "metrics" / "b.json").write_text(json.dumps(entry | {"distances": {}}))
    assert {"refined.centre.psnr-12, window gaussian", "refined.centre.psnr-12, window uniform"} <= set(
        measured_figures([read_history(run)])[0]
    )


def test_records_without_a_step_and_files_of_others_are_counted(run):
    write(run / "log.jsonl", [{"step": 1, "x": 1}])
    (run / "metrics").mkdir()
    for name, content in {
        "a.json": [record("fd", None, {"value": 1}), record("fd", 5, {"value": 2})],
        "b.json": {"other": 1},
        "c.json": [3],
        "d.json": [{"metric": "fd", "values": 3, "protocol": {}}],
        "f.json": [record("fd", 10**13, {"value": 1})],
        "g.json": [record("fd", float("inf"), {"value": 1})],
        "h.json": [record("fd", 5, {"value": 10**400})],
        "i.json": [record("fd", 5, {"value": "high"})],
        "j.json": [record(None, 5, {"value": 1, "other": 2})],
        "k.json": [record("f\0d", 5, {"value": 1})],
        "l.json": [record("fd", 5, {"value": 1}) | {"protocol": {"step": 5, "seed": [1]}}],
    }.items():
        (run / "metrics" / name).write_text(json.dumps(content))
    (run / "metrics" / "e.json").write_text("{")
    (run / "metrics" / "m.json").write_text("[" * 100_000)
    history = read_history(run)
    assert measured_figures([history]) == [{"fd": {5: 2}}]
    folder = run / "metrics"
    assert history.skipped == [
        f"{folder}: 12 file(s) hold no records of attnorm evaluate and are left out",
        f"{folder}: 1 figure(s) say no step of training and are left out",
    ]


def test_measurements_of_different_protocols_are_different_figures_over_all_runs(tmp_path):
    def evaluated(name, *protocols):
        run = tmp_path / name
        write(run / "log.jsonl", [{"step": 1, "x": 1}])
        write(run / "metrics.jsonl", [{"step": 5, "fd": 7}])
        records = [record("fd", 10, {"value": i}) for i in range(len(protocols))]
        for entry, protocol in zip(records, protocols, strict=True):
            entry["protocol"].update(seed=0, data=name, **protocol)
        (run / "metrics").mkdir()
        (run / "metrics" / "a.json").write_text(json.dumps(records))
        return read_history(run)

    train, test = {"split": "train", "num_real": 9}, {"split": "test", "num_real": 9}
    first, second = evaluated("a", train), evaluated("b", train)
    assert measured_figures([first, second]) == [{"fd": {5: 7, 10: 0}}] * 2
    mixed = evaluated("c", train, test)
    names = ["fd, split train", "fd, split test"]
    assert measured_figures([first, mixed]) == [
        {"fd": {5: 7}, names[0]: {10: 0}},
        {"fd": {5: 7}, names[0]: {10: 0}, names[1]: {10: 1}},
    ]


def test_a_folder_without_a_log_is_refused(run):
    with pytest.raises(UserError, match=r"has no log\.jsonl: give the folder of a run"):
        read_history(run)


@pytest.mark.parametrize("text", ["", '{"step": 1', '{"step": 1, "time": 3}\n'])
def test_a_log_without_figures_is_refused(text, run):
    (run / "log.jsonl").write_text(text)
    with pytest.raises(UserError, match="has no figures yet"):
        read_history(run)


def test_a_figure_as_arrays_is_in_the_order_of_its_steps():
    steps, values = as_arrays({30: 3.0, 10: 1, 20: 2.5})
    assert (steps.tolist(), values.tolist()) == ([10, 20, 30], [1, 2.5, 3])
    assert (steps.dtype, values.dtype) == (np.int64, np.float64)
