"""Every command from the outside: what it prints, what it writes, and how it refuses."""

import importlib
import shutil
from itertools import pairwise

import numpy as np
import pytest
import yaml
from PIL import Image

from attnorm import __version__
from attnorm.cli import COMMANDS, main
from attnorm.config import from_dict, to_yaml
from attnorm.presets import INPAINTING_SIZES, PRESETS, get_preset
from attnorm.training.class_conditional import ClassConditionalConfig


def printed(capsys, *arguments):
    """What a command that succeeds prints."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def paragraphs(text):
    """Without the ends of lines, which depend on the terminal."""
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]


def test_an_unknown_command_is_refused_with_the_nearest_name(refused):
    assert refused("trian") == "unknown command 'trian', did you mean 'train'? (see attnorm --help)"


def test_an_unknown_preset_is_refused_with_the_nearest_name(refused):
    nearest = "unknown preset 'an-gan-digts', did you mean 'an-gan-digits'?"
    assert refused("presets", "an-gan-digts").startswith(nearest)
    assert refused("train", "an-gan-digts", "--data", "digits", "--out", "run").startswith(nearest)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["an-gan-digits", "--out", "run"], "required: --data (see attnorm train --help)"),
        (["an-gan-digits", "--data", "digits"], "required: --out"),
        (["--data", "digits", "--out", "run"], "required: preset"),
        (["an-gan-digits", "--data", "", "--out", "run"], "argument --data: the name is empty"),
        (["an-gan-digits", "--data", "nowhere", "--out", "run"], "there is nothing at nowhere"),
        (["an-gan-digits", "--data", "digit", "--out", "run"], "did you mean 'digits'"),
        (["an-gan-digits", "--data", "digits", "--out", "run", "--step", "5"], "did you mean 'steps'?"),
        (["an-gan-digits", "--data", "digits", "--out", "run", "--steps"], "--steps needs a value"),
        (["an-gan-digits", "--data", "digits", "--out", "run", "--steps", "-5"], "steps must be at least 1, got -5"),
        (["an-gan-digits", "--data", "digits", "--out", "run", "--generator_lr", "-1e-4"], "generator_lr must be"),
        (["an-gan-digits", "extra", "--data", "digits", "--out", "run"], "unexpected argument 'extra'"),
        (["an-gan-digits", "--data", "digits", "--out", "run", "--device", "gpu"], "device must be one of"),
        (
            ["an-gan-digits", "--data", "digits", "--out", "run", "--augment", "colour"],
            "augment must be a list, each one of",
        ),
        (["an-gan-digits", "--data", "digits", "--out", "run", "--betas", "0.5"], "2 values, each a number, got 0.5"),
        (
            ["an-gan-digits", "--data", "digits", "--out", "run", "--generator.channels", "8", "8", "8", "1000000000"],
            "generator.channels must be from 1 to 16384",
        ),
    ],
)
def test_train_refuses_what_it_cannot_use_and_makes_no_run(arguments, part, refused):
    assert part in refused("train", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", "5", "an-gan-digits", "--data", "digits", "--out", "run"],
        ["--generator.channels", "8", "8", "8", "8", "--data", "digits", "an-gan-digits", "--out", "run"],
        ["--generator.channels", "8", "8", "8", "8", "an-gan-digits", "--data", "digits", "--out", "run"],
        ["--data", "digits", "--out", "an-gan-digits", "--steps", "5", "an-gan-digits"],
        ["--out=run", "--data=digits", "--steps=5", "an-gan-digits"],
    ],
)
def test_the_preset_may_follow_options(arguments, monkeypatch):
    begun = []
    monkeypatch.setattr("attnorm.cli.train.begin", lambda config, run, fixed: begun.append(config) or 0)
    assert main(["train", *arguments]) == 0
    (config,) = begun
    assert config.data == "digits"
    assert config.steps == (5 if any("--steps" in a for a in arguments) else 1500)
    assert config.generator.channels[0] == (8 if "8" in arguments else 32)


def test_fields_without_a_preset_are_refused_with_the_order(refused):
    assert "name a preset before its fields" in refused("train", "--steps", "5", "--data", "digits", "--out", "run")
    assert "name a preset before" in refused(
        "train", "--steps", "5", "an-gan-digts", "--data", "digits", "--out", "run"
    )
    nearest = "unknown preset 'an-gan-digts', did you mean 'an-gan-digits'?"
    assert refused("train", "--data", "digits", "--out", "run", "an-gan-digts").startswith(nearest)


def test_train_refuses_a_set_prepared_at_another_size(refused, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1", "b/1"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "raw" / f"{name}.png")
    assert main(["data", "prepare", "raw", "small", "--size", "16"]) == 0
    message = refused("train", "an-gan-digits", "--data", "small", "--out", "run")
    assert "prepared at 16×16 but the preset needs 32×32" in message
    assert "attnorm data prepare" in message


@pytest.mark.parametrize("command", ["generate", "visualize"])
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--labels", "33"], "there is no class 33: the model's classes are 0 to 9"),
        (["--labels", "three"], "there is no class 'three'"),
        (["--count", "0"], "at least 1, got 0"),
        (["--count", "many"], "invalid int value: 'many'"),
        (["--seed", "-1"], "seed must be from 0"),
        (["--device", "banana"], "PyTorch cannot use the device 'banana' here"),
        (["--device", "meta"], "PyTorch cannot use the device 'meta' here"),
        (["--cuont", "3"], "unrecognized arguments: --cuont 3"),
    ],
)
def test_drawing_refuses_what_it_cannot_do(command, arguments, part, finished_run, refused):
    assert part in refused(command, finished_run, "-o", "out.png", *arguments)


@pytest.mark.parametrize("command", ["generate", "visualize"])
@pytest.mark.parametrize("name", ["new/out.xyz", "new/out.psd"])  # unknown, and one that can be read only
def test_a_name_of_no_picture_format_is_refused(command, name, finished_run, refused):
    assert "must end in an image format such as .png" in refused(command, finished_run, "-o", name)


@pytest.mark.parametrize("command", ["generate", "visualize"])
def test_what_is_no_model_is_refused(command, refused, tmp_path):
    assert "there is no run or model at nothing" in refused(command, "nothing", "-o", "out.png")
    assert "neither a run nor a saved model" in refused(command, tmp_path, "-o", "out.png")
    assert "required: model" in refused(command, "-o", "out.png")
    assert "required: -o/--out" in refused(command, tmp_path)


@pytest.mark.parametrize("command", ["generate", "visualize"])
def test_an_existing_picture_is_overwritten_with_force_only(command, finished_run, refused, tmp_path, capsys):
    (tmp_path / "out.png").write_text("mine")
    assert "give --force to overwrite it" in refused(command, finished_run, "-o", "out.png")
    printed(capsys, command, finished_run, "-o", tmp_path / "out.png", "--count", "1", "--force")
    Image.open(tmp_path / "out.png").verify()


def test_a_damaged_model_is_refused(finished_run, refused, tmp_path):
    model = shutil.copytree(finished_run / "model", tmp_path / "model")
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:500])
    assert "save or download the model again" in refused("generate", "model", "-o", "out.png")
    (model / "config.json").write_text("{")
    assert "config.json is damaged" in refused("visualize", "model", "-o", "out.png")


def test_generate_draws_a_grid_with_a_label_a_row(finished_run, tmp_path, capsys):
    path = tmp_path / "new" / "grid.png"
    assert printed(capsys, "generate", finished_run, "--labels", "3", "7", "--count", "5", "-o", path) == f"{path}\n"
    grid = Image.open(path)
    assert grid.mode == "RGB"
    assert grid.height == 2 * 64 + 2
    assert grid.width > 5 * 64 + 4 * 2  # and the margin with the names


def test_generate_writes_files_with_number_and_class(finished_run, tmp_path, capsys):
    out = tmp_path / "pictures"
    assert printed(capsys, "generate", finished_run, "--labels", "3", "7", "--count", "2", "-o", out) == (
        f"4 pictures in {out}\n"
    )
    names = ["00000-3.png", "00001-3.png", "00002-7.png", "00003-7.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert all(Image.open(out / name).size == (32, 32) for name in names)


def test_generate_gives_the_same_bytes_for_the_same_seed(finished_run, tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        printed(
            capsys, "generate", finished_run, "--labels", "3", "--count", "1", "--seed", seed, "-o", tmp_path / name
        )
    a, b, c = ((tmp_path / name / "00000-3.png").read_bytes() for name in "abc")
    assert a == b != c


def test_generate_into_a_folder_refuses_a_full_one_and_a_file_but_takes_an_empty_one(
    finished_run, refused, tmp_path, capsys
):
    for name in ("full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("full", "file"):
        assert "exists already" in refused("generate", finished_run, "-o", name)
    assert "cannot write" in refused("generate", finished_run, "-o", "file", "--force")
    printed(capsys, "generate", finished_run, "--labels", "0", "--count", "1", "-o", tmp_path / "empty")
    assert len(list((tmp_path / "empty").iterdir())) == 1


def test_generate_with_force_replaces_the_pictures_of_an_earlier_call_and_nothing_else(finished_run, tmp_path, capsys):
    out = tmp_path / "pictures"
    printed(capsys, "generate", finished_run, "--labels", "3", "7", "--count", "2", "-o", out)
    for mine in ("mine.txt", "00000-3.jpg", "7-3.png"):
        (out / mine).write_text("x")
    printed(capsys, "generate", finished_run, "--labels", "7", "--count", "1", "--force", "-o", out)
    assert sorted(path.name for path in out.iterdir()) == ["00000-3.jpg", "00000-7.png", "7-3.png", "mine.txt"]


def test_presets_lists_every_system_and_kind_of_data_with_its_difference_from_its_parent(capsys):
    text = printed(capsys, "presets")
    pairs = reversed(list(pairwise(text.splitlines())))  # of a name that stands twice, the first counts
    after = {line.split()[0]: following.strip() for line, following in pairs if line[2:3].strip()}
    assert {f"{system}-{data}" for system in after for data in after} | after.keys() >= set(PRESETS) - {"demo-inpaint"}
    assert after["inpaint-ca"] == "inpaint-plain with generator.branch.kind contextual_attention"
    assert after["an-gan-no-ssr"] == "an-gan with long_range.self_sampling False"  # of both networks, named once
    assert after["sn-gan"].startswith("sn-gan-star with generator.spectral_norm False, generator_lr 0.0002")
    assert "batch_size 256" in after["imagenet128"]
    for data, changes in {
        "imagenet128": ["image_size 128", "num_classes 1000", "generator.channels 1024 1024 512 256 128 64"],
        "digits": ["cifar10-cpu with ", "channels 32 32 32 32", "horizontal_flip False"],
        "256": ["the defaults with ", "crop_from 512"],
        "128": ["256 with ", "image_size 128", "critic.local_size 64", "crop_from 256"],
        "64-cpu": ["128-cpu with ", "image_size 64", "critic.local_size 32", "crop_from 128", "steps 5000"],
    }.items():
        for change in changes:
            assert change in after[data]
    assert "width 16" in after["128-cpu"] and "generator.width" not in after["128-cpu"]
    assert not any("branch.kind" in after[size] for size in INPAINTING_SIZES)  # a system's, not a size's


def test_presets_prints_one_whole_as_yaml(capsys):
    out = printed(capsys, "presets", "an-gan-digits")
    assert out == to_yaml(get_preset("an-gan-digits"))
    assert from_dict(ClassConditionalConfig, yaml.safe_load(out), "here") == get_preset("an-gan-digits")


def test_the_version(capsys):
    assert printed(capsys, "--version") == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_overview_names_every_command(arguments, capsys):
    out = printed(capsys, *arguments)
    for name, summary in COMMANDS.items():
        assert f"  {name} " in out
        assert summary in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert out.startswith(f"usage: attnorm {name} ")
    assert len(out.splitlines()) > 4  # a description and its arguments
    described = importlib.import_module(f"attnorm.cli.{name.replace('-', '_')}").__doc__
    assert set(paragraphs(described)) <= set(paragraphs(out))


def test_a_missing_extra_is_named_with_the_remedy(refused, monkeypatch):
    import builtins
    import sys

    real = builtins.__import__

    def without_yaml(name, *arguments):
        if name == "yaml":
            raise ModuleNotFoundError("No module named 'yaml'", name="yaml")
        return real(name, *arguments)

    for name in [name for name in sys.modules if name == "yaml" or name.startswith("attnorm.")]:
        if name not in ("attnorm.cli", "attnorm.errors"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_yaml)
    assert refused("presets") == "`attnorm presets` needs the package 'yaml': pip install 'attnorm[train]'"


def test_a_package_that_only_the_data_needs_is_named_too(refused, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # as if it were not installed
    message = refused("train", "an-gan-digits", "--data", "digits", "--out", "run")
    assert message == "`attnorm train` needs the package 'sklearn.datasets': pip install 'attnorm[data]'"


def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("attnorm.cli._dispatch", interrupted)
    assert main(["presets"]) == 130
    assert capsys.readouterr().err == "attnorm: interrupted\n"


def test_the_grid_holds_the_pictures_that_python_gives(finished_run, tmp_path, capsys):
    from attnorm import ClassConditionalPipeline

    printed(capsys, "generate", finished_run, "--labels", "3", "7", "--count", "2", "--seed", "9", "-o", tmp_path / "p")
    drawn = ClassConditionalPipeline.from_pretrained(finished_run).draw(["3", "3", "7", "7"], seed=9)
    files = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "p").iterdir())]
    assert np.array_equal(np.stack(files), drawn.pictures)
