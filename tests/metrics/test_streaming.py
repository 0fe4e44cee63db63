"""One pass over the images, and the cache of what it gives: right when it hits, and only where nothing has changed."""

import numpy as np
import pytest
import torch

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics import streaming
from attnorm.metrics.base import FeatureRows
from attnorm.metrics.features import Extracted
from attnorm.metrics.fid import GaussianStatistics
from attnorm.metrics.images import ImageSet, real_images
from attnorm.metrics.streaming import UPDATE_SIZE, real_statistics, stream
from tests.metrics.toy import Extractor, dataset

KINDS = {GaussianStatistics, FeatureRows}


class Recorder:
    def __init__(self):
        self.batches = []

    def update(self, batch):
        self.batches.append(batch)


def noise(count):
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet(np.zeros(count, np.int64), lambda start, stop: images[start:stop]), images


def test_every_statistic_sees_every_image_and_the_network_sees_it_once():
    count = 2 * UPDATE_SIZE + 9
    images, pixels = noise(count)
    extractor, recorder, rows, progress = Extractor(), Recorder(), FeatureRows(), []
    stream([recorder, rows], extractor, images, "images", probabilities=True, progress=lambda *x: progress.append(x))
    assert extractor.seen == count
    assert [len(batch.features) for batch in recorder.batches] == [UPDATE_SIZE, UPDATE_SIZE, 9]
    torch.testing.assert_close(rows.features, extractor.network(pixels))
    probabilities = torch.cat([batch.probabilities for batch in recorder.batches])
    torch.testing.assert_close(probabilities, extractor.network(pixels).softmax(1))
    assert torch.equal(torch.cat([batch.positions for batch in recorder.batches]), torch.arange(count))
    assert {batch.total for batch in recorder.batches} == {count}
    assert progress[0] == ("images", 4, count) and progress[-1] == ("images", count, count)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(bad):
    class Broken(Extractor):
        def extract(self, images, *, probabilities=False):
            return Extracted(torch.full((len(images), 2), bad), None)

    with pytest.raises(UserError, match="broken gave features of some that are not finite"):
        stream([], Broken("broken"), noise(10)[0], "some")


def assert_same(first, second):
    assert first.keys() == second.keys()
    for kind, statistics in first.items():
        for name, array in statistics.arrays().items():
            assert np.array_equal(array, second[kind].arrays()[name]), (kind, name)


def seen(cache, extractor=None, images=None, kinds=KINDS):
    """How many images the extractor was shown."""
    extractor = extractor or Extractor()
    real_statistics(kinds, extractor, images or real_images(dataset()), cache)
    return extractor.seen


def test_a_hit_gives_the_same_statistics_without_a_look_at_the_images(tmp_path):
    first, second = Extractor(), Extractor()
    images = real_images(dataset())
    fresh = real_statistics(KINDS, first, images, tmp_path / "new")
    assert_same(fresh, real_statistics(KINDS, second, images, tmp_path / "new"))
    assert (first.seen, second.seen) == (90, 0)


def test_only_what_is_missing_is_computed(tmp_path):
    assert seen(tmp_path, kinds={FeatureRows}) == 90
    assert seen(tmp_path) == 90
    assert seen(tmp_path) == 0
    assert seen(tmp_path, kinds=set()) == 0
    assert seen(None) == 90


def relabelled(data):
    return ImageDataset(data.images, (data.labels + 1) % 3, data.class_names)


@pytest.mark.parametrize(
    "changed",
    [
        {"extractor": Extractor(name="other")},
        {"extractor": Extractor(fingerprint="1")},
        {"extractor": Extractor(resizer="another way")},
        {"images": real_images(dataset(seed=1), 50)},
        {"images": real_images(relabelled(dataset()), 50)},
        {"images": real_images(dataset(), 49)},
        {"images": real_images(dataset(), 50, seed=1)},
    ],
    ids=["network", "weights", "resizer", "images", "labels", "count", "seed"],
)
def test_any_change_is_a_miss(changed, tmp_path, monkeypatch):
    before = real_images(dataset(), 50)
    assert seen(tmp_path, images=before) == 50
    changed = {"images": before, "extractor": Extractor()} | changed
    changed["extractor"].seen = 0
    assert seen(tmp_path, **changed) == changed["images"].count
    assert seen(tmp_path, images=before) == 0  # what was there is still there
    monkeypatch.setattr(streaming, "CACHE_VERSION", streaming.CACHE_VERSION + 1)
    assert seen(tmp_path, images=before) == 50


@pytest.mark.parametrize("damage", [lambda x: b"", lambda x: x[: len(x) // 2], lambda x: b"no archive"])
def test_a_damaged_file_is_reported_and_computed_again(damage, tmp_path, capsys):
    extractor, images = Extractor(), real_images(dataset())
    fresh = real_statistics(KINDS, extractor, images, tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert_same(real_statistics(KINDS, extractor, images, tmp_path), fresh)
    assert extractor.seen == 180
    assert capsys.readouterr().err.count("is damaged (") == 2
    assert seen(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    found = real_statistics(KINDS, Extractor(), real_images(dataset()), tmp_path / "file")
    assert len(found[FeatureRows].features) == 90
    assert capsys.readouterr().err.count("cannot cache reference statistics at ") == 2
