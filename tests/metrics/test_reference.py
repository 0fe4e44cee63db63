"""Statistics of other programs in the place of real images, and files that are something else."""

import numpy as np
import pytest

from attnorm.errors import UserError
from attnorm.metrics.reference import open_reference, write_arrays
from tests.metrics.test_fid import two_pass
from tests.metrics.toy import DIM, Extractor, Network, draw, evaluator


@pytest.fixture(scope="module")
def features():
    """Of the real images, (90, DIM)."""
    real = evaluator(num_real=None).real
    return Network()(real.read(0, real.count)).numpy()


def gaussian(rows):
    """What pytorch-fid and clean-fid write."""
    return {"mu": rows.mean(0, dtype=np.float64), "sigma": np.cov(rows, rowvar=False)}


def compared(path, **changes):
    reference = open_reference(path, Extractor())
    return evaluator(reference=reference, frequencies="uniform", **changes).measure(draw)


@pytest.mark.parametrize("keys", [("mu", "sigma"), ("feats",), ("mu", "sigma", "feats", "more")])
def test_the_distance_is_that_of_the_images_that_the_file_was_made_from(features, keys, tmp_path):
    arrays = gaussian(features) | {"feats": features, "more": np.zeros(3)}
    np.savez_compressed(tmp_path / "cifar.npz", **{key: arrays[key] for key in keys})
    fake = evaluator(frequencies="uniform").fake(draw)
    expected = two_pass(Network()(evaluator(num_real=None).real.read(0, 90)), Network()(fake.read(0, 70)))
    metrics = ["fd", "kid", "is"] if "feats" in keys else ["fd", "is"]
    values = compared(tmp_path / "cifar.npz", metrics=metrics)
    assert values["fd-toy-70-vs-cifar"].main == pytest.approx(expected, rel=1e-6)
    images = evaluator(frequencies="uniform", num_real=None, metrics=metrics).measure(draw)
    assert values["is-toy-70"] == images["is-toy-70"]  # it compares nothing
    if "feats" in keys:
        assert values["kd-toy-70-vs-cifar"] == images["kd-toy-70"]


def test_our_own_files_say_their_network_and_count(features, tmp_path):
    path = tmp_path / "ours.npz"
    write_arrays(path, evaluator(num_real=None).real_statistics(), Extractor())
    reference = open_reference(path, Extractor())
    assert reference.is_ours and reference.arrays["count"] == 90
    np.testing.assert_allclose(reference.arrays["sigma"], np.cov(features, rowvar=False), rtol=1e-6)
    for change in ({"name": "vgg"}, {"fingerprint": "1"}, {"resizer": "another way"}):
        [(fact, value)] = change.items()
        with pytest.raises(UserError, match=rf"of another network than .* \({fact}: .*, not {value}\)"):
            open_reference(path, Extractor(**change))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"arr_0": np.zeros((3, 8, 8, 3), np.uint8)}, r"has no mean mu \(d\) and covariance sigma \(d, d\)"),
        ({"mu": np.zeros(DIM), "sigma": np.zeros((DIM, 3))}, r"it has .*'sigma': \(6, 3\)"),
        ({"mu": np.full(DIM, np.nan), "sigma": np.eye(DIM)}, "not finite: make or download it again"),
        ({"mu": np.zeros(2048), "sigma": np.eye(2048)}, r"another network than toy \(features: 2048, not 6\)"),
        ({"mu": np.array([None, 1], object), "sigma": np.eye(2)}, "not an .npz file of arrays"),
        (b"PK not an archive", "not an .npz file of arrays.: give an .npz file with mu and sigma"),
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


def test_a_metric_that_needs_more_is_refused(features, tmp_path):
    np.savez(tmp_path / "stats.npz", **gaussian(features))
    with pytest.raises(UserError, match="kid needs feats, which stats lacks: leave kid out"):
        compared(tmp_path / "stats.npz", metrics=["kid"])
