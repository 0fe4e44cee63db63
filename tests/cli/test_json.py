"""`--json`: what a script reads is one JSON document on stdout, and the same as the record on disk."""

import json

import numpy as np

from attnorm.config import from_dict
from attnorm.presets import PRESETS, get_preset
from attnorm.training.class_conditional import ClassConditionalConfig


def test_presets_are_read_back_as_they_are(output):
    found = json.loads(output("presets", "--json").out)
    assert list(found) == list(PRESETS)
    assert from_dict(ClassConditionalConfig, found["an-gan-cifar10"], "preset") == get_preset("an-gan-cifar10")
    one = json.loads(output("presets", "an-gan-digits", "--json").out)
    assert one == found["an-gan-digits"]


def test_a_generators_evaluation_is_its_record(run_copy, output, tmp_path):
    record = tmp_path / "record.json"
    found = json.loads(output("evaluate", run_copy, "--num", 12, "--metrics", "kid", "--json", "--out", record).out)
    assert found == json.loads(record.read_text())
    assert np.isfinite(found[0]["values"]["mean"])


def test_an_inpainters_evaluation_is_its_record(finished_inpainting_run, output, tmp_path):
    record = tmp_path / "record.json"
    found = json.loads(output("evaluate", finished_inpainting_run, "--num", 2, "--json", "--out", record).out)
    assert found == json.loads(record.read_text())
    assert found["protocol"]["num"] == 2
