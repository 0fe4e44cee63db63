"""`--json`: what a script reads is one JSON document on stdout, and the same as the record on disk."""

import json

import numpy as np
import torch

from attnorm.config import derive, from_dict, to_yaml
from attnorm.data.facades import STYLES
from attnorm.models.class_conditional import Discriminator
from attnorm.presets import PRESETS, get_preset
from attnorm.training import checkpoint
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


def test_an_agreement_is_its_record(tiny_config, output, tmp_path):
    config = derive(tiny_config.for_classes(STYLES), {"discriminator.long_range.temperature": 20.0})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(to_yaml(config))
    torch.manual_seed(0)
    state = {"step": 5, "task": {"discriminator": Discriminator(config.discriminator).state_dict()}}
    checkpoint.save(tmp_path / "run" / "checkpoints", 5, state, keep=1)
    found = json.loads(output("agreement", tmp_path / "run", "--count", 7, "-o", tmp_path / "sheet.png", "--json").out)
    assert found == json.loads((tmp_path / "sheet.json").read_text())
    assert 0 <= found["scores"]["layouts"]["nmi"] <= 1
