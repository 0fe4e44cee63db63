"""`load`: whatever `--data` may name, and the built-in sets."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from attnorm.data import loading
from attnorm.data.builtin import BUILTIN, load_builtin, stream_builtin
from attnorm.data.facades import STYLES, render_facade
from attnorm.data.loading import load
from attnorm.data.prepare import prepare
from attnorm.data.summary import summarise
from attnorm.errors import UserError


@pytest.fixture
def raw(tmp_path):
    for index in range(6):
        file = tmp_path / "raw" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (index, 0, 0)).save(file)
    return tmp_path / "raw"


@pytest.fixture
def no_preparing(monkeypatch):
    """Fails the test if a picture is decoded from here on."""

    def fail(*args):
        raise AssertionError("decoded again")

    return lambda: monkeypatch.setattr("attnorm.data.prepare.read_square", fail)


def test_a_raw_folder_is_prepared_once_into_the_cache(raw, tmp_path, no_preparing):
    first = load(str(raw), 4, cache=tmp_path / "cache")
    assert first.class_names == ("a", "b") and first.images[:, 0, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]
    no_preparing()
    second = load(str(raw), 4, cache=tmp_path / "cache")
    np.testing.assert_array_equal(first.images, second.images)
    [folder] = (tmp_path / "cache").iterdir()
    assert folder.name.startswith("raw-4-")


def test_a_changed_source_or_size_is_prepared_anew(raw, tmp_path):
    load(str(raw), 4, cache=tmp_path / "cache")
    Image.new("RGB", (9, 9), (77, 0, 0)).save(raw / "b" / "9.png")
    assert load(str(raw), 4, cache=tmp_path / "cache").images[-1, 0, 0, 0] == 77
    assert load(str(raw), 5, cache=tmp_path / "cache").size == 5
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_parquet_is_prepared_into_the_cache(raw, tmp_path):
    rows = {"image": [file.read_bytes() for file in sorted(raw.rglob("*.png"))], "label": [0, 0, 0, 1, 1, 1]}
    pq.write_table(pa.table(rows), tmp_path / "set.parquet")
    dataset = load(str(tmp_path / "set.parquet"), 4, cache=tmp_path / "cache")
    np.testing.assert_array_equal(dataset.images, load(str(raw), 4, cache=tmp_path / "cache").images)


def test_skipped_pictures_are_reported_when_they_are_skipped(raw, tmp_path, capsys):
    (raw / "a" / "bad.png").write_bytes(b"x")
    load(str(raw), 4, cache=tmp_path / "cache")
    assert "a/bad.png: not a picture" in capsys.readouterr().err
    load(str(raw), 4, cache=tmp_path / "cache")
    assert capsys.readouterr().err == ""


def test_a_prepared_folder_is_opened_in_place(raw, tmp_path):
    prepare(raw, tmp_path / "out", 4)
    assert len(load(str(tmp_path / "out"), 4, cache=tmp_path / "cache")) == 6
    assert not (tmp_path / "cache").exists()


def test_a_prepared_folder_of_another_size_is_refused(raw, tmp_path):
    prepare(raw, tmp_path / "out", 4)
    with pytest.raises(UserError, match=r"prepared at 4×4 but the preset needs 8×8: run attnorm .* --size 8"):
        load(str(tmp_path / "out"), 8, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    "name, meant", [("digit", "'digits'"), ("facades", "'facades-synthetic'"), ("/no/such/place", None)]
)
def test_a_place_that_does_not_exist_names_the_built_in_sets(tmp_path, monkeypatch, name, meant):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="digits, facades-synthetic") as caught:
        load(name, 8, cache=tmp_path / "cache")
    assert ("did you mean" in str(caught.value)) == (meant is not None)
    assert meant is None or f"did you mean {meant}" in str(caught.value)


def test_digits_are_the_real_ones_enlarged(tmp_path):
    dataset = load("digits", 32, cache=tmp_path / "cache")
    assert dataset.images.shape == (1797, 32, 32, 3) and dataset.class_names == tuple("0123456789")
    assert not (tmp_path / "cache").exists()
    real = load_digits()
    np.testing.assert_array_equal(dataset.labels, real.target)
    assert (dataset.images == dataset.images[..., :1]).all()
    grey = Image.fromarray(np.rint(real.images[5] / 16 * 255).astype(np.uint8))
    enlarged = np.asarray(grey.resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(dataset.images[5, ..., 0], enlarged)


def test_digits_at_their_own_size_keep_their_values():
    dataset = load_builtin("digits", 8, count=20)
    np.testing.assert_array_equal(np.rint(dataset.images[..., 0] / 255 * 16), load_digits().images[:20])


def test_facades_are_what_the_renderer_draws():
    dataset = load_builtin("facades-synthetic", 16, count=8, seed=3)
    assert dataset.class_names == tuple(STYLES) and len(dataset) == 8
    for index in (0, 7):
        facade = render_facade(3, index, 16)
        np.testing.assert_array_equal(dataset.images[index], facade.image)
        assert dataset.labels[index] == facade.style


def test_facades_do_not_depend_on_the_number_of_processes():
    alone = load_builtin("facades-synthetic", 16, count=20)
    shared = load_builtin("facades-synthetic", 16, count=20, workers=2)
    np.testing.assert_array_equal(alone.images, shared.images)


def test_facades_are_rendered_once_into_the_cache(tmp_path, monkeypatch):
    few = BUILTIN["facades-synthetic"]
    monkeypatch.setitem(BUILTIN, "facades-synthetic", type(few)(6, few.class_names, few.labels, few.stream))
    first = load("facades-synthetic", 16, cache=tmp_path / "cache")
    monkeypatch.setattr("attnorm.data.builtin._facade", None)
    np.testing.assert_array_equal(load("facades-synthetic", 16, cache=tmp_path / "cache").images, first.images)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["facades-synthetic-16"]


@pytest.mark.parametrize("name", BUILTIN)
def test_labels_are_known_without_drawing(name):
    drawn = load_builtin(name, 16, count=13).labels
    np.testing.assert_array_equal(BUILTIN[name].labels(13), drawn)


@pytest.mark.parametrize(
    "name, options, problem",
    [
        ("digits", {"size": 8, "count": 1798}, "1797 pictures, not 1798"),
        ("digits", {"size": 8, "count": 0}, "count must be at least 1"),
        ("digits", {"size": 0}, "size must be at least 1"),
        ("digits", {"size": 8, "seed": -1}, "seed must be at least 0"),
        ("facades-synthetic", {"size": 8}, "16 to 256 pixels"),
        ("facades-synthetic", {"size": 16, "workers": 0}, "workers must be at least 1"),
        ("cats", {"size": 8}, "no built-in set 'cats'"),
    ],
)
def test_what_a_built_in_set_cannot_do_is_refused(name, options, problem):
    with pytest.raises(UserError, match=problem):
        load_builtin(name, **options)


def test_the_default_number_of_facades():
    assert stream_builtin("facades-synthetic", 16)[0] == 6000


@pytest.mark.parametrize("size, problem", [(0, "at least 1, not 0"), (1_000_000, "at most 4096, not 1000000")])
def test_a_size_that_makes_no_sense_is_refused(size, problem, raw, tmp_path):
    for source in (str(raw), "digits", "facades-synthetic"):
        with pytest.raises(UserError, match=problem):
            loading.load(source, size, cache=tmp_path)


def test_summaries_agree_before_and_after_preparing(raw, tmp_path):
    (raw / "a" / "bad.png").write_bytes(b"x")
    before = summarise(str(raw))
    prepare(raw, tmp_path / "out", 4)
    after = summarise(str(tmp_path / "out"))
    assert (before.kind, before.count, before.size, before.classes) == (
        "folder of pictures",
        7,
        None,
        {"a": 4, "b": 3},
    )
    assert (after.kind, after.count, after.size, after.classes) == ("prepared folder", 6, 4, {"a": 3, "b": 3})
    assert before.skipped == [] and [name for name, _ in after.skipped] == ["a/bad.png"]
