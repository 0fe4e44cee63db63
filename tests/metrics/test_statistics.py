"""Which images are compared, one pass over them, the cache of what it gives, and statistics of other programs."""

import numpy as np
import pytest
import torch

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics import statistics
from attnorm.metrics.image_sets import DRAW_BLOCK, DrawnImages, RealImages
from attnorm.metrics.statistics import compute_statistics, open_reference, real_statistics, write_statistics
from tests.metrics.test_fid import two_pass
from tests.metrics.toy import DIM, Extractor, Network, dataset, draw, evaluator, pixels

UNREADABLE = "cannot read .*: give an .npz file with mu and sigma"


def numbered(count):
    """A set whose image i is all i, of class i % 3."""
    images = (np.arange(count) % 256).astype(np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    return ImageDataset(images.repeat(3, 3), np.arange(count) % 3, ("a", "b", "c"))


def test_a_random_part_has_each_image_once():
    def part(count, seed=0):
        return evaluator(data=numbered(200), metrics=["fd"], num_real=count, seed=seed).real

    assert np.array_equal(part(1000).read(0, 200), numbered(200).images)
    values = [part(50, seed).read(0, 50)[:, 0, 0, 0].astype(int) for seed in (1, 1, 2)]
    assert len(set(values[0])) == 50
    assert values[0].max() > 100  # not the first ones
    assert np.array_equal(values[0], values[1]) and not np.array_equal(values[0], values[2])


def echo(labels, seed):
    """A generator that draws its label, its place in the block and the seed, a pixel each."""
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0], images[:, 1, 0, 0] = labels, np.arange(len(labels)), seed % 251
    return images


def test_an_image_depends_on_its_position_and_the_seed_alone():
    few, many = (DrawnImages(echo, np.arange(5), count, 7) for count in (70, 333))
    drawn = many.read(0, 333)
    assert np.array_equal(few.read(0, 70), drawn[:70])
    assert np.array_equal(many.read(45, 101), drawn[45:101])
    assert np.array_equal(drawn[:, 0, 0, 0], many.labels[:333])
    assert np.array_equal(drawn[:, 0, 1, 0], np.arange(333) % DRAW_BLOCK)
    assert not np.array_equal(drawn, DrawnImages(echo, np.arange(5), 333, 8).read(0, 333))


def real(count=90, seed=0):
    return RealImages(dataset(seed=seed), np.arange(count), 8)


def test_the_network_sees_every_image_once_and_the_rows_are_in_their_order():
    images = RealImages(dataset(count := 2 * statistics.UPDATE_SIZE + 9), np.arange(count), 8)
    extractor = Extractor()
    found = compute_statistics(images, extractor, "images", ("feats", "probabilities"), False)
    assert extractor.seen == found.count == count
    expected = extractor.network(pixels(images))
    torch.testing.assert_close(found.feats, expected)
    torch.testing.assert_close(found.probabilities, expected.softmax(1))


def seen(cache, extractor=None, images=None):
    """How many images the extractor was shown."""
    extractor = extractor or Extractor()
    real_statistics(images or real(), extractor, {"feats"}, cache, False)
    return extractor.seen


@pytest.mark.promise
def test_a_hit_gives_the_same_statistics_without_a_look_at_the_images(tmp_path):
    fresh = real_statistics(real(), Extractor(), {"feats"}, tmp_path, False)
    extractor = Extractor()
    for needs in ({"feats"}, ()):
        again = real_statistics(real(), extractor, needs, tmp_path, False)
        assert extractor.seen == 0 and fresh.count == again.count == 90
        assert all(torch.equal(getattr(fresh, name), getattr(again, name)) for name in ("mu", "sigma", "feats"))
    assert seen(None) == 90


def test_a_file_without_the_rows_that_are_wanted_is_written_again(tmp_path):
    assert len(real_statistics(real(), Extractor(), (), tmp_path, False).feats) == 0
    assert [seen(tmp_path), seen(tmp_path)] == [90, 0]


@pytest.mark.parametrize(
    "changed",
    [
        *({"extractor": Extractor(**{fact: "another"})} for fact in ("name", "fingerprint", "resizer")),
        {"images": real(50, seed=1)},
        {"images": real(49)},
    ],
    ids=["name", "fingerprint", "resizer", "images", "count"],
)
def test_any_change_is_a_miss(changed, tmp_path, monkeypatch):
    before = real(50)
    assert seen(tmp_path, images=before) == 50
    changed = {"images": before, "extractor": Extractor()} | changed
    changed["extractor"].seen = 0
    assert seen(tmp_path, **changed) == changed["images"].count
    assert seen(tmp_path, images=before) == 0  # what was there is still there
    monkeypatch.setattr(statistics, "CACHE_VERSION", statistics.CACHE_VERSION + 1)
    assert seen(tmp_path, images=before) == 50


def test_a_damaged_file_is_computed_again_and_one_that_cannot_be_written_loses_nothing(tmp_path, capsys):
    seen(tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    assert [seen(tmp_path / "cache"), seen(tmp_path / "cache")] == [90, 0]
    (tmp_path / "file").write_text("in the way")
    assert seen(tmp_path / "file") == 90
    assert "the statistics of the real images are not cached" in capsys.readouterr().err


@pytest.fixture(scope="module")
def features():
    """Of the real images, (90, DIM)."""
    return Network()(pixels(real())).numpy()


def gaussian(rows):
    """What pytorch-fid and clean-fid write."""
    return {"mu": rows.mean(0, dtype=np.float64), "sigma": np.cov(rows, rowvar=False)}


def compared(path, **changes):
    reference = open_reference(path, Extractor())
    return evaluator(data=None, reference=reference, frequencies="uniform", **changes).measure(draw)


@pytest.mark.parametrize("keys", [("mu", "sigma"), ("feats",), ("mu", "sigma", "feats", "more")])
def test_the_distance_is_that_of_the_images_that_the_file_was_made_from(features, keys, tmp_path):
    arrays = gaussian(features) | {"feats": features, "more": np.zeros(3)}
    np.savez_compressed(tmp_path / "cifar.npz", **{key: arrays[key] for key in keys})
    fake = evaluator(frequencies="uniform").fake(draw)
    expected = two_pass(torch.from_numpy(features), Network()(pixels(fake)))
    metrics = ["fd", "kid", "is"] if "feats" in keys else ["fd", "is"]
    values = compared(tmp_path / "cifar.npz", metrics=metrics)
    assert values["fd-toy-70-vs-cifar"].main == pytest.approx(expected, rel=1e-6)
    images = evaluator(frequencies="uniform", num_real=None, metrics=metrics).measure(draw)
    assert values["is-toy-70"] == images["is-toy-70"]  # it compares nothing
    if "feats" in keys:
        assert values["kd-toy-70-vs-cifar"] == images["kd-toy-70"]


def test_our_own_files_say_their_network_and_count(features, tmp_path):
    path = tmp_path / "ours.npz"
    real = evaluator(num_real=None).real_statistics()
    assert len(real.feats) == 90 and not len(real.probabilities)  # those are of generated images alone
    write_statistics(path, real, Extractor())
    reference = open_reference(path, Extractor())
    assert reference.network and reference.count == 90
    np.testing.assert_allclose(reference.sigma, np.cov(features, rowvar=False), rtol=1e-6)
    for change in ({"name": "vgg"}, {"fingerprint": "1"}, {"resizer": "another way"}):
        [(fact, value)] = change.items()
        with pytest.raises(UserError, match=rf"of another network than .* \({fact}: .*, not {value}\)"):
            open_reference(path, Extractor(**change))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"arr_0": np.zeros((3, 8, 8, 3), np.uint8)}, r"no finite mean mu \(d\) and covariance sigma \(d, d\)"),
        ({"mu": np.zeros(DIM), "sigma": np.zeros((DIM, 3))}, r"it has .*'sigma': \(6, 3\)"),
        ({"mu": np.zeros(2048), "sigma": np.eye(2048)}, r"another network than toy \(features: 2048, not 6\)"),
        ({"mu": np.zeros(DIM), "sigma": np.full((DIM, DIM), np.nan)}, "no finite mean"),
        ({"mu": np.array([None, 1], object), "sigma": np.eye(2)}, UNREADABLE),
        (b"PK not an archive", UNREADABLE),
        (None, "cannot read .*No such file"),
    ],
)
def test_a_file_that_is_something_else_is_refused(content, sentence, tmp_path):
    path = tmp_path / "stats.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    with pytest.raises(UserError, match=sentence):
        open_reference(path, Extractor())


def test_a_metric_that_needs_more_than_the_file_has_is_refused(features, tmp_path):
    np.savez(path := tmp_path / "stats.npz", **gaussian(features))
    with pytest.raises(UserError, match=r"kid needs feats, which .* lacks: leave kid out"):
        compared(path, metrics=["kid"])
    with pytest.raises(UserError, match="leave intra out"):
        compared(path, metrics=["intra"])
    np.savez(path, **gaussian(features), feats=features[:3])
    with pytest.raises(UserError, match="pr needs at least 4 real images, got 3"):
        compared(path, metrics=["pr"])
