"""Fields of a preset on the command line, where a run goes, and devices."""

import pytest

TRAIN = "train an-gan-digits --data digits --out new"
PAINT = "train inpaint-an-64-cpu --data digits --out new"

FIELDS = [
    ("--step 5", "unknown field 'step'", "did you mean 'steps'?"),
    ("--generator.channel 8 8 8 8", "unknown field 'channel'", "did you mean 'channels'?"),
    ("--steps.more 5", "--steps.more: steps has no fields"),
    ("--generator.channels.first 5", "channels has no fields"),
    ("-- 5", "unknown field ''"),
    ("--steps", "--steps needs a value"),
    ("--steps=", "steps must be a whole number, got None"),
    ("--steps null", "steps must be a whole number, got None"),
    ("--steps many", "steps must be a whole number, got 'many'"),
    ("--steps 1e3", "steps must be a whole number, got '1e3'"),
    ("--steps 5.0", "steps must be a whole number, got 5.0"),
    ("--steps yes", "steps must be a whole number, got True"),
    ("--steps 5 6", "steps must be a whole number, got (5, 6)"),
    ("--steps 2026-01-01", "steps must be a whole number, got datetime.date(2026, 1, 1)"),
    ("--steps 2026-99-99", "--steps: '2026-99-99' cannot be read as a value"),
    ("--steps 0", "steps must be at least 1, got 0"),
    ("--steps " + "9" * 30, "steps must be at most"),
    ("--steps " + "9" * 5000, "--steps: '9999", "cannot be read as a value"),
    ("--batch_size 1000000000000", "would take at least", "make channels, classes or batch_size smaller"),
    ("--batch_size -4", "batch_size must be at least 1, got -4"),
    ("--accumulation 7", "batch_size 32 cannot be shared", "choose a multiple of 7"),
    ("--seed -1", "seed must be from 0"),
    ("--generator_lr fast", "generator_lr must be a number, got 'fast'"),
    ("--generator_lr nan", "generator_lr must be between 0 and 1, got nan"),
    ("--generator_lr .nan", "generator_lr must be between 0 and 1, got nan"),
    ("--generator_lr .inf", "generator_lr must be between 0 and 1, got inf"),
    ("--orthogonal_weight .inf", "orthogonal_weight must not be negative nor infinite"),
    ("--ema_half_life .nan", "ema_half_life must not be negative nor infinite"),
    ("--betas 0.5", "betas must be 2 values, each a number, got 0.5"),
    ("--betas 0.5 1.5", "betas must be in [0, 1)"),
    ("--horizontal_flip 1", "horizontal_flip must be", "got 1"),
    ("--augment colour", "augment must be a list, each one of 'color', 'translation', 'cutout'"),
    ("--precision float16", "precision must be one of 'auto', 'float32', 'bf16', got 'float16'"),
    ("--device tpu", "device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"),
    ("--device cuda", "device 'cuda' was asked for", "use --device cpu"),
    ("--task inpainting", "task must be 'class-conditional'"),
    ("--generator null", "generator must be", "got None"),
    ("--generator.channels 8 8 8 1000000000", "generator.channels must be from 1 to 16384"),
    ("--generator.channels 8 8 8 -8", "generator.channels must be from 1 to 16384"),
    ("--generator.channels wide", "generator.channels must be a list, each a whole number, got wide"),
    ("--generator.channels []", "generator.channels must have 2 to 10 numbers"),
    ("--generator.channels 8 8 8 8 8", "makes 64 x 64 pictures, not image_size 32"),
    ("--generator.latent_dim 0", "generator.latent_dim must be from 1 to 16384"),
    ("--generator.num_classes 1000000000000", "generator.num_classes must be from 1 to 1048576"),
    ("--generator.num_classes 7", "--generator.num_classes 7 does not fit digits, which has 10", "leave it out"),
    ("--discriminator.num_classes 7", "--discriminator.num_classes 7 does not fit digits", "leave it out"),
    ("--generator.num_classes 2 --generator.class_names cat dog", "does not fit digits, which has", "leave it out"),
    ("--generator.num_classes 2 --generator.class_names cat cat", "generator.class_names has a name twice"),
    ("--discriminator.image_size 64", "set both image sizes alike"),
    ("--generator.long_range.temperature .nan", "temperature must be positive and finite, got nan"),
    ("--generator.long_range.num_entities 100000", "num_entities must be from 1 to 4096"),
    ("--generator.long_range.kind attention", "kind must be one of 'none', 'self_attention', 'attentive_norm'"),
    ("--sample_rows 1000000000", "sample_rows must be at most 100"),
    ("--sample_columns 1000000000", "sample_columns must be at most 100"),
    ("--discriminator_steps 1000000000", "discriminator_steps must be at most 1000"),
    ("--evaluation.num 1000000000000", "evaluation.num must be at most 10000000"),
    ("--evaluate_every 5 --evaluation.metrics fid", "unknown metric 'fid'"),
    ("--lr_hold 1", "lr_hold must be at least 0 and below 1"),
]
HOSTILE = [
    (["--steps", "[1"], "--steps: '[1' cannot be read as a value"),
    (["--steps", "\t5"], "--steps: '\\t5' cannot be read as a value"),
    (["--steps", "!!python/object/apply:os.system ['touch owned']"], "cannot be read as a value"),
    (["--generator", "{channels: 5, channels: 6}"], "cannot be read as a value"),
    (["--augment", "&a [*a]"], "cannot be read as a value"),
    (["--augment", "[&a [x, x], *a, *a]"], "cannot be read as a value"),
    (["--augment", "[" * 3000], "cannot be read as a value"),
    (["--generator", "{1: 2}"], "names must be text, got 1"),
    (["--generator", "{channels: {8: 8}}"], "names must be text, got 8"),
    (["--generator", "x" * 5000], "generator must be", "xxx…"),
    (["--" + "x" * 5000, "5"], "unknown field 'xxx"),
    (["--line\nbreak", "5"], "unknown field 'line\\nbreak'"),
    (["--generator.num_classes", "0x" + "f" * 5000], "a number has more than 256 bits"),
]
INPAINTING = [
    ("--generator.width 3", "generator.width must be even, got 3"),
    ("--generator.width 1000000000", "generator.width must be from 2 to 1024"),
    ("--generator.image_size 1000000000", "generator.image_size must be from 16 to 4096"),
    ("--generator.image_size 66 --critic.image_size 66", "generator.image_size must be a multiple of 4"),
    ("--critic.local_size 500", "critic.local_size must be from 8 to 64"),
    ("--crop_from 10", "crop_from must be at least the image size 64"),
    ("--crop_from 1000000000", "crop_from must be at most 8192"),
    ("--critic_steps 1000000000", "critic_steps must be at most 1000"),
    ("--masks.kind circle", "masks.kind must be one of 'centre', 'rectangle'"),
    ("--masks.fraction 0 0.5", "mask fraction must be a range inside 0 to 1"),
    ("--masks.fraction 0.5 1", "mask fraction must be a range inside 0 to 1"),
    ("--masks.fraction 0.5", "masks.fraction must be 2 values"),
    ("--masks.fraction 0.5 0.2", "mask fraction must be a range"),
    ("--masks.count 1 1000000000", "mask count must be a range inside 1 to 1000"),
    ("--masks.folder pictures", "a mask folder belongs to kind 'folder'"),
    ("--masks.kind folder --masks.folder nowhere", "nowhere does not exist", "give a folder"),
    ("--masks.kind folder --masks.folder empty", "empty holds no image", "give another folder"),
    ("--val_data nowhere", "there is nothing at nowhere"),
    ("--val_fraction 1", "val_fraction must be between 0 and 1"),
    ("--phases.patience 0", "phases.patience must be at least 1"),
    ("--generator.num_classes 7", "unknown field 'num_classes'"),
]
PLACES = [
    ("train an-gan-digts --data digits --out new", "unknown preset 'an-gan-digts'", "did you mean 'an-gan-digits'?"),
    ("train an-gan-digits --data digits --out run", "run holds a run already", "attnorm resume run"),
    ("train an-gan-digits --data digits --out file", "cannot write file", "file is no folder"),
    ("train an-gan-digits --data digits --out file/new", "cannot write file/new", "file is no folder"),
    ("train an-gan-digits --data digits --out ''", "argument --out: the name is empty"),
    ("train an-gan-digits --data digit --out new", "there is nothing at digit", "did you mean 'digits'"),
    ("train an-gan-digits --data file --out new", "file is neither a folder nor a .parquet file"),
    ("train an-gan-digits --data empty --out new", "empty holds no image"),
    ("train an-gan-digits --data prepared --out new", "prepared at 16×16", "attnorm data prepare"),
    ("resume nowhere", "nowhere is no run", "config.yaml"),
    ("resume file", "file is no run"),
    ("resume model", "model is no run"),
    ("resume run --steps 0", "--steps must be at least 1"),
    ("resume run --steps 3", "run is at step 6 already", "3 steps"),
    ("resume run --steps many", "invalid int value: 'many'"),
]


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case[0][:60])
def test_a_field_of_a_generator_is_refused(case, refused):
    fields, *parts = case
    refused(f"{TRAIN} {fields}", *parts)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case[0][1][:40])
def test_a_hostile_value_is_refused(case, refused):
    fields, *parts = case
    refused([*TRAIN.split(), *fields], *parts)


@pytest.mark.parametrize("case", INPAINTING, ids=lambda case: case[0][:60])
def test_a_field_of_an_inpainter_is_refused(case, refused):
    fields, *parts = case
    refused(f"{PAINT} {fields}", *parts)


@pytest.mark.parametrize("case", PLACES, ids=lambda case: case[0][:60])
def test_a_place_that_does_not_do_is_refused(case, refused):
    refused(*case)


def test_the_number_of_classes_that_the_data_has_may_be_said(here, tiny_arguments, tmp_path, accepted):
    line = f"train an-gan-digits --data digits --out {tmp_path / 'run'} --generator.num_classes 10"
    accepted([*line.split(), *tiny_arguments, "--steps", "1"])
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
