"""A user's plausible mistakes: one sentence with the thing and the remedy, exit code 2, and nothing changed on disk."""

import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from attnorm.cli import main
from tests.runs import contents, python, refused

pytestmark = pytest.mark.promise


@pytest.fixture(scope="module")
def world(finished_run, tmp_path_factory):
    """A run, its model, a run without a checkpoint, images, prepared images, an empty folder and a file."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(finished_run, root / "run")
    shutil.copytree(finished_run / "model", root / "model")
    for name in ("a/1", "a/2", "b/1", "b/2"):
        path = root / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    (root / "empty").mkdir()
    (root / "file").write_text("mine")
    assert main(["data", "prepare", str(root / "images"), str(root / "prepared"), "--size", "16"]) == 0
    return root


TRAIN = "train an-gan-digits --data digits --out new"
PAINT = "train inpaint-an-64-cpu --data digits --out new"
CASES = [
    # Fields.
    (f"{TRAIN} --step 5", "unknown field 'step', did you mean 'steps'?"),
    (f"{TRAIN} --channels 8 8", "did you mean 'generator.channels' or 'discriminator.channels'?"),
    (f"{TRAIN} --steps", "--steps needs a value"),
    (f"{TRAIN} --betas 0 1", "betas.1 must be less than 1"),
    (f"{TRAIN} --augment colour", "must be 'color', 'translation' or 'cutout', got 'colour'"),
    (f"{TRAIN} --device cuda", "cannot use the device 'cuda' here", "choose cpu"),
    (f"{TRAIN} --batch_size 2000", "batch_size 2000 is more than the 1797 images to train on: lower it"),
    (f"{TRAIN} --init-from run", "run does not fit: generator.channels is [8, 8, 8, 8] there and ", "run/config.yaml"),
    (f"{TRAIN} --init-from nowhere", "there is no run or model at nowhere"),
    (f"{PAINT} --init-from model", "model is not a model for inpainting"),
    (f"{TRAIN} --accumulation 7", "batch_size 32 cannot be divided", "choose a multiple of 7"),
    (f"{TRAIN} --generator.channels 8 8 8", "makes 16 x 16 images, not image_size 32"),
    (f"{TRAIN} --generator.num_classes 7", "does not fit digits, which has 10: leave it out"),
    (f"{TRAIN} --discriminator.image_size 64", "set both image sizes to the same value"),
    (f"{TRAIN} --generator.long_range.block 5", "generator.long_range.block must be from 0 to 2, got 5"),
    (f"{TRAIN} --discriminator.downsamples 9", "downsamples 9 does not fit image_size 32 and 4 blocks"),
    # Self-sampling needs as many pixels as entities: 32 x 32 in the generator's block 2, 16 x 16 in the other's 1.
    (f"{TRAIN} --generator.long_range.num_entities 1025", "at most 1024 on 32 x 32 maps, got 1025"),
    (f"{TRAIN} --discriminator.long_range.num_entities 257", "at most 256 on 16 x 16 maps, got 257"),
    (f"{TRAIN} --discriminator.concat_after 4", "concat_after must be below the number of blocks, 4"),
    (f"{TRAIN} --evaluate_every 5 --evaluation.metrics fdi", "unknown metric 'fdi'"),
    (f"{PAINT} --generator.width 3", "generator.width must be a multiple of 2, got 3"),
    (f"{PAINT} --masks.kind folder --masks.folder nowhere", "nowhere", "give a folder"),
    (
        f"{PAINT.replace('digits', 'images')} --masks.kind folder --masks.folder images/",
        "masks.folder must not be the images' own, images/, without masks named NAME_mask.png",
    ),
    (f"{PAINT} --critic.local_size 500", "local_size"),
    (f"{PAINT} --generator.branch.statistics batch", "must be 'instance' in inpainting"),
    (f"{PAINT} --masks.fraction 0.5 0.2", "masks.fraction must be a range, got 0.5 to 0.2"),
    (f"{PAINT} --crop_from 10", "crop_from must be at least the image size 64, got 10"),
    (f"{PAINT} --val_data nowhere", "there is nothing at nowhere"),
    # Names and places.
    ("train an-gan-digits --out new", "--data is required (see attnorm train --help)"),
    ("train an-gan-digts --data digits --out new", "unknown preset 'an-gan-digts', did you mean 'an-gan-digits'?"),
    ("train an-gan-digits --data digit --out new", "there is nothing at digit", "digits"),
    ("train an-gan-digits --data file --out new", "file is neither a folder, an archive nor a parquet"),
    ("train an-gan-digits --data empty --out new", "empty holds no"),
    ("train an-gan-digits --data prepared --out new", "prepared at 16×16", "attnorm data prepare"),
    ("train an-gan-digits --data digits --out run", "run already has a run: continue it with `attnorm resume run`"),
    ("train an-gan-digits --data digits --out images", "images is not empty (it has a)", "choose a new or empty"),
    ("train an-gan-digits --data digits --out file/new", "cannot write file/new"),
    ("resume nowhere", "nowhere is not a run directory: config.yaml is missing"),
    ("resume run --batch_size 8", "--batch_size cannot change in a resumed run"),
    ("resume run --data photos", "the classes of", "are no longer those of run"),
    ("resume run --steps 3", "run is at step 6 already: it cannot end at 3 steps"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_mistake_is_one_sentence_and_touches_nothing(case, world, monkeypatch, capsys):
    line, *parts = case
    monkeypatch.chdir(world)
    before = contents(world)
    message = refused(capsys, *shlex.split(line))
    for part in parts:
        assert part in message
    assert contents(world) == before


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ("\nsteps: 6", "\nstep: 6", "unknown field 'step', did you mean 'steps'?"),
        ("task: class-conditional", "task: painting", "task must be one of ['class-conditional', 'inpainting'], got"),
        ("latent_dim: 8", "latent_dim: 9", "the checkpoint of step 6 does not fit"),
        ("data: digits", "data: [", "config.yaml is not valid YAML"),
    ],
)
def test_a_changed_config_yaml_is_refused(before, after, part, run_copy, capsys):
    text = (run_copy / "config.yaml").read_text()
    assert before in text
    (run_copy / "config.yaml").write_text(text.replace(before, after, 1))
    kept = contents(run_copy)
    assert part in refused(capsys, "resume", run_copy)
    assert contents(run_copy) == kept


def test_a_mistake_in_a_process_is_one_line_and_exit_code_2(tmp_path):
    [done] = python("-m", "attnorm", "resume", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"attnorm: error: {tmp_path} is not a run directory: config.yaml is missing\n"
