"""Which images are compared, one pass over them, and the cache of what it gives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics import streaming
from attnorm.metrics.base import FeatureRows
from attnorm.metrics.fid import GaussianStatistics
from attnorm.metrics.streaming import DRAW_BLOCK, UPDATE_SIZE, drawn_images, real_images, real_statistics, stream
from tests.metrics.toy import Extractor, dataset

KINDS = {GaussianStatistics, FeatureRows}


def numbered(count):
    """A set whose image i is all i, of class i % 3."""
    images = (np.arange(count) % 256).astype(np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    return ImageDataset(images.repeat(3, 3), np.arange(count) % 3, ("a", "b", "c"))


def everything(images):
    return images.read(0, images.count)


def test_a_random_part_has_each_image_once_with_its_label_and_a_class_is_all_of_it():
    assert np.array_equal(everything(real_images(numbered(200), 1000)).permute(0, 2, 3, 1), numbered(200).images)
    parts = [everything(real_images(numbered(200), 50, seed))[:, 0, 0, 0].long().numpy() for seed in (1, 1, 2)]
    assert len(set(parts[0])) == 50
    assert parts[0].max() > 100  # not the first ones
    assert np.array_equal(real_images(numbered(200), 50, 1).labels, parts[0] % 3)
    assert np.array_equal(parts[0], parts[1]) and not np.array_equal(parts[0], parts[2])
    of_class = real_images(numbered(20), label=2)
    assert everything(of_class)[:, 0, 0, 0].tolist() == [2, 5, 8, 11, 14, 17] and set(of_class.labels) == {2}


def echo(labels, seed):
    """A generator that draws its label, its place in the block and the seed, a pixel each."""
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0], images[:, 1, 0, 0] = labels, np.arange(len(labels)), seed % 251
    return images


def test_an_image_depends_on_its_position_and_the_seed_alone():
    few, many = (drawn_images(echo, np.arange(5), count, 7) for count in (70, 333))
    assert torch.equal(everything(few), everything(many)[:70])
    assert torch.equal(many.read(45, 101), everything(many)[45:101])
    assert np.array_equal(everything(many)[:, 0, 0, 0], many.labels)
    assert np.array_equal(everything(many)[:, 0, 0, 1], np.arange(333) % DRAW_BLOCK)
    assert not torch.equal(everything(many), everything(drawn_images(echo, np.arange(5), 333, 8)))


def test_every_statistic_sees_every_image_and_the_network_sees_it_once():
    images = real_images(dataset(count := 2 * UPDATE_SIZE + 9))
    extractor, rows, batches = Extractor(), FeatureRows(), []
    stream([SimpleNamespace(update=batches.append), rows], extractor, images, "images", probabilities=True)
    assert extractor.seen == count
    assert [len(batch.features) for batch in batches] == [UPDATE_SIZE, UPDATE_SIZE, 9]
    expected = extractor.network(everything(images))
    torch.testing.assert_close(rows.feats, expected)
    torch.testing.assert_close(torch.cat([batch.probabilities for batch in batches]), expected.softmax(1))
    assert torch.equal(torch.cat([batch.positions for batch in batches]), torch.arange(count))
    assert {batch.total for batch in batches} == {count}
    extractor.network = lambda images: torch.full((len(images), 2), torch.nan)
    with pytest.raises(UserError, match="toy gave features of some that are not finite"):
        stream([], extractor, images, "some")


def seen(cache, extractor=None, images=None):
    """How many images the extractor was shown."""
    extractor = extractor or Extractor()
    real_statistics(KINDS, extractor, images or real_images(dataset()), cache)
    return extractor.seen


@pytest.mark.promise
def test_a_hit_gives_the_same_statistics_without_a_look_at_the_images(tmp_path):
    fresh = real_statistics(KINDS, Extractor(), real_images(dataset()), tmp_path)
    extractor = Extractor()
    again = real_statistics(KINDS, extractor, real_images(dataset()), tmp_path)
    assert extractor.seen == 0
    assert fresh["count"] == 90 and set(fresh) == set(again) == {"mu", "sigma", "feats", "count"}
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)
    assert seen(None) == 90


@pytest.mark.parametrize(
    "changed",
    [
        *({"extractor": Extractor(**{fact: "another"})} for fact in ("name", "fingerprint", "resizer")),
        {"images": real_images(dataset(seed=1), 50)},
        {"images": real_images(dataset(), 49)},
    ],
    ids=["name", "fingerprint", "resizer", "images", "count"],
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


def test_a_damaged_file_is_computed_again_and_one_that_cannot_be_written_loses_nothing(tmp_path, capsys):
    seen(tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    assert [seen(tmp_path / "cache"), seen(tmp_path / "cache")] == [90, 0]
    (tmp_path / "file").write_text("in the way")
    assert seen(tmp_path / "file") == 90
    assert capsys.readouterr().err.count("the statistics of the real images are not cached") == 2
