"""Agreement with the true regions from the command line."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import normalized_mutual_info_score

from attnorm.config import derive, to_yaml
from attnorm.data.facades import REGIONS, STYLES, render_facade
from attnorm.models.class_conditional import Discriminator
from attnorm.presets import get_preset
from attnorm.training import checkpoint

COUNT = 7


def make_run(folder, config, names=STYLES):
    """What a run on these classes leaves, with an untrained discriminator."""
    config = config.for_classes(names)
    torch.manual_seed(0)
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(config))
    state = {"step": 5, "task": {"discriminator": Discriminator(config.discriminator).state_dict()}}
    checkpoint.save(folder / "checkpoints", 5, state, keep=1)
    return folder


@pytest.mark.parametrize("preset", ["demo-facades", "an-gan-facades-cpu"])
def test_a_discriminator_of_the_presets_for_the_drawn_fronts_has_the_layer_that_is_measured(preset):
    assert get_preset(preset).discriminator.long_range.kind == "attentive_norm"


@pytest.fixture
def run(tiny_config, tmp_path):
    return make_run(tmp_path / "run", derive(tiny_config, {"discriminator.long_range.temperature": 20.0}))


def measured(run, output, *arguments):
    sheet = run.parent / "sheet.png"
    out, err = output("agreement", run, "--count", COUNT, "-o", sheet, "--force", *arguments)
    return out, err, json.loads(sheet.with_suffix(".json").read_text())


def expected_nmi(run, tiny_config, seed):
    """The long way: pictures one by one through a network that is loaded by hand."""
    state = torch.load(run / "checkpoints" / "step-5" / "state.pt", weights_only=True)
    config = derive(tiny_config, {"discriminator.long_range.temperature": 20.0}).for_classes(STYLES)
    network = Discriminator(config.discriminator)
    network.load_state_dict(state["task"]["discriminator"])
    network.eval()
    entities, truth = [], []
    for index in range(COUNT):
        facade = render_facade(seed, index, 32)
        x = torch.tensor(facade.image).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():  # the layer is in block 1: block 0 halves the picture
            features = network.blocks[1].conv1(torch.relu(network.blocks[0](x)))
            entities.append(network.blocks[1].norm.layout(features)[0].argmax(0).numpy().repeat(2, 0).repeat(2, 1))
        truth.append(facade.regions)
    return normalized_mutual_info_score(np.ravel(truth), np.ravel(entities))


def test_the_numbers_are_those_of_the_discriminators_layouts(run, tiny_config, output):
    out, err, record = measured(run, output)
    assert err == ""
    assert record["scores"]["layouts"]["nmi"] == pytest.approx(expected_nmi(run, tiny_config, seed=1), abs=1e-4)
    assert record["step"] == 5
    assert record["data"] == {"name": "facades-synthetic", "seed": 1, "count": COUNT, "size": 32}
    assert record["regions"] == list(REGIONS)
    confusion = np.array(record["confusion"])
    assert confusion.shape == (4, 10)
    assert confusion.sum() == COUNT * 32 * 32
    assert record["scores"]["layouts"]["purity"] == pytest.approx(confusion.max(1).sum() / confusion.sum())
    lines = out.splitlines()
    assert lines[:2] == [f"{COUNT} facades of seed 1 at 32x32", f"discriminator of {run} at step 5:"]
    names = ("the layouts", "chance: the same pixels, shuffled", "the layouts of other pictures")
    assert list(record["scores"]) == ["layouts", "shuffled", "exchanged"]
    for name, score, line in zip(names, record["scores"].values(), lines[2:5], strict=True):
        assert line.split() == [*name.split(), "NMI", f"{score['nmi']:.4f}", "purity", f"{score['purity']:.4f}"]
    assert record["scores"]["shuffled"]["nmi"] < record["scores"]["layouts"]["nmi"]


def test_the_seed_chooses_the_pictures(run, tiny_config, output):
    record = measured(run, output, "--seed", "4")[2]
    assert record["scores"]["layouts"]["nmi"] == pytest.approx(expected_nmi(run, tiny_config, seed=4), abs=1e-4)


def test_the_sheet_shows_a_picture_of_each_style(run, output, contains):
    measured(run, output)
    sheet = np.asarray(Image.open(run.parent / "sheet.png"))
    assert sheet.shape[0] > 6 * 130
    for index in (0, 5):
        picture = render_facade(1, index, 32).image.repeat(4, 0).repeat(4, 1)
        assert contains(sheet, picture)


def test_a_damaged_checkpoint_is_passed_over_and_said(run, output):
    checkpoint.save(run / "checkpoints", 9, {"step": 9}, keep=2)
    (run / "checkpoints" / "step-9" / "state.pt").write_bytes(b"")
    out, err, _ = measured(run, output)
    assert "step-9 is damaged" in err
    assert err.endswith("; measuring step 5\n")
    assert "at step 5:" in out


def test_a_run_on_other_pictures_is_refused(finished_run, refused):
    message = refused("agreement", finished_run, "-o", "sheet.png")
    assert "was not trained on facades-synthetic, the only set whose true regions are known" in message


def test_a_discriminator_without_a_layout_is_refused(tiny_config, tmp_path, refused):
    make_run(tmp_path / "run", derive(tiny_config, {"discriminator.long_range.kind": "self_attention"}))
    assert "has no attentive normalization" in refused("agreement", "run", "--count", "6", "-o", "sheet.png")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--count", "5"], "--count must be at least 6, one of each style, got 5"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--device", "banana"], "PyTorch cannot use the device 'banana'"),
    ],
)
def test_it_refuses_what_it_cannot_do(arguments, part, run, refused):
    assert part in refused("agreement", run, "-o", "sheet.png", *arguments)


def test_what_is_no_run_or_no_picture_is_refused(run, refused, tmp_path):
    assert "is no run: it has no config.yaml" in refused("agreement", tmp_path, "-o", "sheet.png")
    assert "must end in a picture format" in refused("agreement", run, "-o", "sheet.xyz")


@pytest.mark.parametrize("name", ["sheet.png", "sheet.json"])
def test_nothing_is_overwritten_without_force(name, run, refused, tmp_path):
    (tmp_path / name).write_text("mine")
    assert f"{name} exists already: give --force" in refused("agreement", run, "-o", "sheet.png")
