"""The cache of reference statistics: right when it hits, and it hits only when nothing has changed."""

import numpy as np
import pytest

from attnorm.data.dataset import ImageDataset
from attnorm.metrics import reference
from attnorm.metrics.collecting import FeatureRows
from attnorm.metrics.gaussian import GaussianStatistics
from attnorm.metrics.pictures import dataset_pictures
from attnorm.metrics.reference import collect_reference
from tests.metrics.toy import Extractor, dataset

KINDS = {GaussianStatistics, FeatureRows}


def content(found):
    return {kind: collector.arrays() for kind, collector in found.items()}


def assert_same(first, second):
    for kind, arrays in content(first).items():
        for name, array in arrays.items():
            assert np.array_equal(array, content(second)[kind][name]), (kind, name)


def seen(tmp_path, extractor=None, pictures=None, kinds=KINDS):
    """How many pictures the extractor was shown."""
    extractor = extractor or Extractor()
    collect_reference(kinds, extractor, pictures or dataset_pictures(dataset()), tmp_path)
    return extractor.seen


def test_a_hit_gives_the_same_statistics_without_a_look_at_the_pictures(tmp_path):
    first, second = Extractor(), Extractor()
    pictures = dataset_pictures(dataset())
    fresh = collect_reference(KINDS, first, pictures, tmp_path / "new")
    kept = collect_reference(KINDS, second, pictures, tmp_path / "new")
    assert (first.seen, second.seen) == (90, 0)
    assert_same(fresh, kept)
    assert fresh.keys() == kept.keys() == KINDS


def test_only_what_is_missing_is_made(tmp_path):
    assert seen(tmp_path, kinds={FeatureRows}) == 90
    assert seen(tmp_path, kinds=KINDS) == 90
    assert seen(tmp_path, kinds=KINDS) == 0
    assert seen(tmp_path, kinds=set()) == 0


def test_without_a_folder_nothing_is_kept(tmp_path):
    for _ in range(2):
        extractor = Extractor()
        collect_reference(KINDS, extractor, dataset_pictures(dataset()), None)
        assert extractor.seen == 90


def relabelled(data):
    return ImageDataset(data.images, (data.labels + 1) % 3, data.class_names)


@pytest.mark.parametrize(
    "changed",
    [
        {"extractor": Extractor(name="other")},
        {"extractor": Extractor(fingerprint="1")},
        {"extractor": Extractor(resizer="another way")},
        {"pictures": dataset_pictures(dataset(seed=1), 50)},
        {"pictures": dataset_pictures(relabelled(dataset()), 50)},
        {"pictures": dataset_pictures(dataset(), 49)},
        {"pictures": dataset_pictures(dataset(), 50, seed=1)},
    ],
    ids=["network", "weights", "resizer", "pictures", "labels", "count", "seed"],
)
def test_any_change_is_a_miss(changed, tmp_path):
    before = dataset_pictures(dataset(), 50)
    assert seen(tmp_path, pictures=before) == 50
    changed = {"pictures": before, "extractor": Extractor()} | changed
    changed["extractor"].seen = 0
    assert seen(tmp_path, **changed) == changed["pictures"].count
    assert seen(tmp_path, pictures=before) == 0  # and what was there is still there


def test_another_version_of_the_package_is_a_miss(tmp_path, monkeypatch):
    assert seen(tmp_path) == 90
    monkeypatch.setattr(reference, "CACHE_VERSION", reference.CACHE_VERSION + 1)
    assert seen(tmp_path) == 90


def damage(content, how):
    return {
        "empty": b"",
        "torn": content[: len(content) // 2],
        "end cut": content[:-30],
        "no archive": b"not an archive",
    }[how]


@pytest.mark.parametrize("how", ["empty", "torn", "end cut", "no archive"])
def test_a_damaged_file_is_said_and_made_again(how, tmp_path, capsys):
    extractor, pictures = Extractor(), dataset_pictures(dataset())
    fresh = collect_reference(KINDS, extractor, pictures, tmp_path)
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, content in whole.items():
        path.write_bytes(damage(content, how))
    assert_same(collect_reference(KINDS, extractor, pictures, tmp_path), fresh)
    assert extractor.seen == 180
    assert capsys.readouterr().err.count("is damaged (") == 2
    assert seen(tmp_path) == 0
    assert set(tmp_path.iterdir()) == set(whole)


def test_no_damage_of_a_byte_goes_unnoticed_or_fails(tmp_path):
    """Every seventh byte of the archive in turn: what comes out is what was in it."""
    pictures = dataset_pictures(dataset(12))
    fresh = collect_reference({GaussianStatistics}, Extractor(), pictures, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        assert_same(collect_reference({GaussianStatistics}, Extractor(), pictures, tmp_path), fresh)


def test_a_file_of_another_key_under_this_name_is_a_miss(tmp_path):
    extractor = Extractor()
    seen(tmp_path, extractor, kinds={FeatureRows})
    (path,) = tmp_path.iterdir()
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"key": np.array("another")}))
    assert seen(tmp_path, kinds={FeatureRows}) == 90


def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    extractor = Extractor()
    found = collect_reference(KINDS, extractor, dataset_pictures(dataset()), tmp_path / "file")
    assert len(found[FeatureRows].labels) == 90
    err = capsys.readouterr().err
    assert err.count("cannot keep the reference statistics at ") == 2
    assert "set ATTNORM_CACHE to another folder" in err
