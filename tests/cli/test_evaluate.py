"""`attnorm evaluate` on a small run: table, record, picture, and everything that it refuses."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm.cli import evaluate_generator, main, measured_model
from attnorm.errors import UserError
from attnorm.metrics import features
from attnorm.metrics.records import read_results
from attnorm.models.class_conditional import Generator
from attnorm.models.pretrained import write_step
from tests.two_processes import run_two

NAME = "step-0000006-digits-kid-efficientnet-lite0-n12-seed0"
KID = ("--num", "12", "--metrics", "kid")  # the quickest


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """Evaluates from an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        code = main(["evaluate", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(evaluate):
    """What an evaluation that must refuse says, in one line."""

    def run(*arguments):
        code, out, err = evaluate(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("attnorm: error: ")
        assert err.count("\n") == 1
        return err.removeprefix("attnorm: error: ").rstrip("\n")

    return run


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures of three classes that are none of the digits."""
    chance = np.random.default_rng(0)
    for name in ("x", "y", "z"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(5):
            noise = chance.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def test_a_run_is_measured_against_its_own_data(run_copy, evaluate):
    code, out, err = evaluate(run_copy, *KID)
    assert (code, err) == (0, "")
    record = run_copy / "metrics" / f"{NAME}.json"
    (result,) = read_results(record)
    shown = f"{result.values['mean']:.4g} ± 0"
    row = f"| kd-efficientnet-lite0-12 ↓ | {shown} | 12   | 12        | ema     | 6    | digits | 0    |"
    assert row in out.splitlines()
    assert out.splitlines()[-1] == f"{record} and {NAME}.png, the first of the pictures"
    assert (result.extractor, result.resizer) == ("efficientnet-lite0", "antialiased bilinear to 224")
    protocol = result.protocol
    assert (protocol.model, protocol.data, protocol.split) == (str(run_copy), "digits", "digits")
    assert (protocol.weights, protocol.step, protocol.seed, protocol.frequencies) == ("ema", 6, 0, "data")


def test_every_metric_at_once_with_a_table_of_classes(run_copy, evaluate, tmp_path):
    metrics = ["fd", "kid", "is", "pr", "intra"]
    arguments = ["--num", "60", "--metrics", *metrics, "--per-class", "4", "--classes", "3", "7"]
    arguments += ["--out", "r.json", "--seed", "3", "--split", "all"]
    code, out, _ = evaluate(run_copy, *arguments)
    assert code == 0
    results = read_results(tmp_path / "r.json")
    names = [
        *(f"{stem}-efficientnet-lite0-60" for stem in ("fd", "kd", "is", "pr")),
        "intra-fd-efficientnet-lite0-4-per-class-2-classes",
    ]
    assert [result.metric for result in results] == names
    assert (results[-1].protocol.num_real, results[-1].protocol.num_fake) == (183 + 179, 8)
    assert {(one.protocol.split, one.protocol.seed) for one in results} == {("all", 3)}
    by_class = results[-1].details["by_class"]
    assert list(by_class) == ["3", "7"]
    for name, value in by_class.items():
        assert any(line.startswith(f"| {name} ") and f"| {value:.4g} " in line for line in out.splitlines())
    assert results[-1].values["mean"] == pytest.approx(np.mean(list(by_class.values())))


def test_the_sheet_shows_the_first_generated_pictures(run_copy, evaluate):
    evaluate(run_copy, *KID)
    sheet = Image.open(run_copy / "metrics" / f"{NAME}.png")
    assert sheet.size == (8 * 66 - 2, 2 * 66 - 2)  # 12 pictures, enlarged to 64, in rows of 8
    tiles = np.asarray(sheet)
    assert tiles[:64, :64].std() > 0
    assert np.all(tiles[66:, 4 * 66 :] == 255)  # the second row ends after four


def test_the_same_seed_gives_the_same_record_and_picture(run_copy, evaluate, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert evaluate(run_copy, *KID, "--seed", seed, "--out", f"{name}.json")[0] == 0
    a, b, c = (read_results(tmp_path / f"{name}.json")[0].values for name in "abc")
    assert a == b != c
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_an_existing_record_or_picture_is_overwritten_with_force_only(run_copy, evaluate, refused):
    (run_copy / "metrics").mkdir()
    picture = run_copy / "metrics" / f"{NAME}.png"
    picture.write_text("mine")
    assert "exists already: give --force to overwrite it" in refused(run_copy, *KID)
    assert picture.read_text() == "mine"
    assert evaluate(run_copy, *KID, "--force")[0] == 0
    assert f"{NAME}.json exists already" in refused(run_copy, *KID)


def test_other_data_can_be_given_and_classes_drawn_alike(run_copy, evaluate, refused, pictures):
    sentence = "the generator's 10 classes are not the 3 of the data"
    assert sentence in refused(run_copy, "--data", pictures, *KID)
    uniform = ["--frequencies", "uniform", "--num-real", "0"]
    code, _, err = evaluate(run_copy, "--data", pictures, "--num", "20", "--metrics", "kid", *uniform)
    assert (code, err) == (0, "")
    (result,) = read_results(run_copy / "metrics" / "step-0000006-pictures-kid-efficientnet-lite0-n20-seed0.json")
    protocol = result.protocol
    assert (protocol.num_real, protocol.num_fake, protocol.frequencies) == (15, 20, "uniform")
    assert (protocol.data, protocol.split) == (str(pictures), "pictures")
    intra = ["--metrics", "intra", "--frequencies", "uniform", "--out", "i.json"]
    assert "leave intra out" in refused(run_copy, "--data", pictures, *intra)


def test_a_saved_model_is_measured_too_but_does_not_know_its_data(run_copy, evaluate, refused, tmp_path):
    model = shutil.copytree(run_copy / "model", tmp_path / "elsewhere" / "model")
    assert "is no run, so that its data is not known: give --data" in refused(model, "--out", "r.json")
    assert "is no run to keep the record in: give --out FILE.json" in refused(model, "--data", "digits")
    assert evaluate(model, "--data", "digits", *KID, "--out", "r.json")[0] == 0
    assert evaluate(run_copy, *KID)[0] == 0
    (of_model,), (of_run,) = (read_results(path) for path in (tmp_path / "r.json", run_copy / f"metrics/{NAME}.json"))
    assert of_model.values == of_run.values
    assert (of_model.protocol.weights, of_model.protocol.step) == ("unknown", 6)


def test_the_last_and_the_best_folder_of_a_run_are_measured_as_parts_of_it(run_copy, evaluate):
    name = NAME.replace("step-0000006", "step-0000004-best")
    with_best(run_copy, step=4)
    for folder in ("model", "best"):
        assert evaluate(run_copy / folder, *KID)[0] == 0
    (of_model,), (of_best,) = (read_results(run_copy / "metrics" / f"{stem}.json") for stem in (NAME, name))
    assert (of_model.protocol.weights, of_model.protocol.step, of_model.protocol.data) == ("ema", 6, "digits")
    assert (of_best.protocol.weights, of_best.protocol.step, of_best.protocol.data) == ("ema", 4, "digits")
    assert of_best.protocol.model == str(run_copy / "best")
    assert of_model.values != of_best.values


def test_the_weights_without_averaging_are_measured_by_option(run_copy, evaluate):
    assert evaluate(run_copy, *KID)[0] == 0
    assert evaluate(run_copy, *KID, "--weights", "ema", "--force")[0] == 0
    code, out, _ = evaluate(run_copy, *KID, "--weights", "raw")
    assert code == 0 and "| raw     | 6 " in out
    (averaged,) = read_results(run_copy / "metrics" / f"{NAME}.json")
    (raw,) = read_results(run_copy / "metrics" / f"{NAME.replace('-digits', '-raw-digits')}.json")
    assert (raw.protocol.weights, raw.protocol.step) == ("raw", 6)
    assert (averaged.protocol.weights, averaged.protocol.step) == ("ema", 6)
    assert raw.values != averaged.values


def test_weights_that_are_not_there_are_refused(run_copy, refused, tmp_path):
    elsewhere = shutil.copytree(run_copy / "model", tmp_path / "elsewhere" / "model")
    raw = (*KID, "--data", "digits", "--out", "r.json", "--weights", "raw")
    assert "--weights chooses among those of a run" in refused(elsewhere, *raw)
    assert f"the raw ones are in the checkpoints: give {run_copy}" in refused(run_copy / "model", *raw)
    (run_copy / "checkpoints" / "step-6" / "state.pt").write_bytes(b"")
    assert f"write it anew with `attnorm resume {run_copy}`" in refused(run_copy, *raw)
    shutil.rmtree(run_copy / "checkpoints")
    assert "has no checkpoint, where its raw weights would be" in refused(run_copy, *raw)
    config = (run_copy / "config.yaml").read_text()
    (run_copy / "config.yaml").write_text(config.replace("ema_half_life: 10000.0", "ema_half_life: 0.0"))
    assert "has no averaged weights: leave --weights out" in refused(run_copy, *KID, "--weights", "ema")


def with_best(run, step):
    """Gives a run the averaged weights of a checkpoint as its best."""
    generator = Generator.from_pretrained(run / "model")
    earlier = torch.load(run / "checkpoints" / f"step-{step}" / "state.pt", weights_only=True)
    generator.load_state_dict(earlier["task"]["ema"])
    generator.save_pretrained(run / "best")
    write_step(run / "best", step)


@pytest.mark.parametrize("says_step, step, name", [(True, 6, "step-0000006"), (False, None, "model")])
def test_a_run_without_averaging_or_checkpoints_says_so(run_copy, evaluate, says_step, step, name):
    """The saved model of an earlier version does not say of which step it is."""
    if not says_step:
        (run_copy / "model/training.json").unlink()
    config = (run_copy / "config.yaml").read_text()
    (run_copy / "config.yaml").write_text(config.replace("ema_half_life: 10000.0", "ema_half_life: 0.0"))
    shutil.rmtree(run_copy / "checkpoints")
    assert evaluate(run_copy, *KID)[0] == 0
    (record,) = (run_copy / "metrics").glob("*.json")
    assert record.name == f"{name}-digits-kid-efficientnet-lite0-n12-seed0.json"
    protocol = json.loads(record.read_text())[0]["protocol"]
    assert (protocol["weights"], protocol["step"]) == ("raw", step)


def test_the_step_is_that_of_the_model_and_not_of_the_checkpoint_before_it(run_copy, tmp_path, evaluate):
    """As a process leaves it that is killed between the two; and wherever the model's folder goes."""
    shutil.rmtree(run_copy / "checkpoints/step-6")
    shutil.copytree(run_copy / "model", tmp_path / "elsewhere")
    for place in (run_copy, run_copy / "model", tmp_path / "elsewhere"):
        out = tmp_path / "record.json"
        assert evaluate(place, *KID, "--data", "digits", "--out", str(out), "--force")[0] == 0
        assert json.loads(out.read_text())[0]["protocol"]["step"] == 6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--metrics", "fid"], "unknown metric 'fid': choose from fd, intra, is, kid, pr"),
        (["--metrics"], "expected at least one argument"),
        (["--num", "0"], "--num must be at least 1, got 0"),
        (["--num", "1", "--num-real", "9"], "fd needs at least 2 generated images, got 1"),
        (["--num-real", "-1"], "--num-real must be at least 1, or 0 for all pictures, got -1"),
        (["--num-real", "1"], "fd needs at least 2 real images, got 1"),
        (["--per-class", "1", "--metrics", "intra"], "intra needs 2 to 10000000 generated images per class, got 1"),
        (["--metrics", "intra", "--classes", "10"], "there is no class 10"),
        (["--classes", "3"], "--per-class and --classes are for intra: add intra to --metrics"),
        (["--seed", "-1"], "--seed must be from 0"),
        (["--frequencies", "some"], "invalid choice: 'some'"),
        (["--extractor", "vgg"], "unknown extractor 'vgg'"),
        (["--extractor", "gone.pt"], "cannot read gone.pt"),
        (["--data", "digit"], "did you mean 'digits'"),
        (["--out", "record.txt"], "record.txt: the name of the record must end in .json"),
        (["--device", "banana"], "PyTorch cannot use the device 'banana' here"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(arguments, sentence, run_copy, refused):
    assert sentence in refused(run_copy, *arguments)
    assert not (run_copy / "metrics").exists()


def test_what_is_no_model_is_refused(refused, tmp_path):
    assert "there is no run or model at nothing" in refused("nothing")
    assert "neither a run nor a saved model" in refused(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(run_copy, refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write file/r.json" in refused(run_copy, *KID, "--out", "file/r.json")


def test_inception_without_a_network_says_what_to_do(run_copy, refused, monkeypatch):
    defaults = ("http://127.0.0.1:1/inception-2015-12-05.pt", features.INCEPTION_SHA256, None)
    monkeypatch.setattr(features.fetch_inception, "__defaults__", defaults)
    message = refused(run_copy, "--extractor", "inception")
    assert "could not be downloaded" in message
    assert "download it on another machine and give its path, or put it at" in message


def test_two_processes_write_one_record_of_the_same_numbers(run_copy, evaluate, tmp_path):
    assert evaluate(run_copy, *KID, "--out", "one.json")[0] == 0
    command = ["-m", "attnorm", "evaluate", str(run_copy), *KID, "--out", "two.json"]
    processes = run_two(lambda rank: command, ATTNORM_CACHE=str(tmp_path / "cache"))
    outputs = [process.stdout for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "kd-efficientnet-lite0-12" in outputs[0]
    assert outputs[1] == ""
    (one,), (two,) = (read_results(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert two.values == pytest.approx(one.values, rel=1e-6)


def test_a_model_that_was_saved_anew_while_it_was_loaded_is_not_measured(run_copy, refused, monkeypatch):
    """The record would say another step than that of the weights."""
    load = evaluate_generator._pipeline

    def late(*arguments):
        (run_copy / "model" / "training.json").write_text('{"step": 8}')
        return load(*arguments)

    monkeypatch.setattr(evaluate_generator, "_pipeline", late)
    assert "has saved another model while this one was being loaded: start again" in refused(run_copy, *KID)
    assert not (run_copy / "metrics").exists()


def test_processes_with_other_weights_are_refused(run_copy, refused, monkeypatch):
    found = {}

    def compared(facts, remedy):
        found.update(facts)
        raise UserError(remedy)

    monkeypatch.setattr(measured_model, "check_alike", compared)
    refused(run_copy, *KID)
    first = dict(found)
    refused(run_copy, *KID)
    assert found == first
    path = run_copy / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "must be the same on every machine" in refused(run_copy, *KID)
    assert {name for name, fact in found.items() if fact != first[name]} == {"the checksum of its weights"}
