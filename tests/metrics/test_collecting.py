"""The pass over the pictures: what extractor and collectors get to see."""

import numpy as np
import pytest
import torch

from attnorm.errors import UserError
from attnorm.metrics.collecting import PORTION, FeatureRows, collect, float64_device
from attnorm.metrics.features import Extracted
from attnorm.metrics.pictures import Pictures
from tests.metrics.toy import Extractor


class Recorder:
    def __init__(self):
        self.portions = []

    def take(self, portion):
        self.portions.append(portion)

    @property
    def sizes(self):
        return [len(portion.features) for portion in self.portions]


def noise(count, batches):
    """A set of random pictures that is read in batches of the given sizes, again and again."""
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def read(start, stop):
        turn = 0
        while start < stop:
            end = min(start + batches[turn % len(batches)], stop)
            yield images[start:end]
            start, turn = end, turn + 1

    return Pictures(np.arange(count) % 5, read), images


@pytest.mark.parametrize("batches", [[1], [3, 17], [256], [1000]])
def test_batches_and_portions_do_not_depend_on_how_pictures_are_read(batches):
    count = 2 * PORTION + 9
    pictures, images = noise(count, batches)
    extractor, sizes = Extractor(), []
    collector = Recorder()

    def extract(x, *, probabilities=False):
        sizes.append(len(x))
        return Extractor.extract(extractor, x, probabilities=probabilities)

    extractor.extract = extract
    collect([collector], extractor, pictures, "pictures")
    assert set(sizes[:-1]) == {4} and sizes[-1] == 1
    assert collector.sizes == [PORTION, PORTION, 9]
    features = torch.cat([portion.features for portion in collector.portions])
    torch.testing.assert_close(features, extractor.network(images))
    assert torch.equal(torch.cat([portion.positions for portion in collector.portions]), torch.arange(count))
    assert np.array_equal(torch.cat([portion.labels for portion in collector.portions]), pictures.labels)
    assert {portion.total for portion in collector.portions} == {count}
    assert {portion.probabilities for portion in collector.portions} == {None}


def test_every_collector_sees_every_picture_and_the_extractor_sees_it_once():
    extractor, collectors = Extractor(), [Recorder(), FeatureRows()]
    pictures, images = noise(30, [8])
    collect((collector for collector in collectors), extractor, pictures, "pictures", probabilities=True)
    assert extractor.seen == 30
    assert collectors[0].sizes == [30]
    probabilities = collectors[0].portions[0].probabilities
    torch.testing.assert_close(probabilities, extractor.network(images).softmax(1))
    assert torch.equal(collectors[1].features, collectors[0].portions[0].features)


def test_progress_counts_pictures():
    told = []
    collect([], Extractor(), noise(10, [10])[0], "some", progress=lambda *what: told.append(what))
    assert told == [("some", 4, 10), ("some", 8, 10), ("some", 10, 10)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_refused(bad):
    class Broken(Extractor):
        def extract(self, pictures, *, probabilities=False):
            return Extracted(torch.full((len(pictures), 2), bad), None)

    with pytest.raises(UserError, match="broken gave features of some that are not finite"):
        collect([], Broken("broken"), noise(10, [10])[0], "some")


def test_rows_keep_their_order_and_come_back_from_arrays():
    rows = FeatureRows()
    extractor = Extractor()
    pictures, images = noise(600, [100])
    collect([rows], extractor, pictures, "pictures")
    again = FeatureRows.from_arrays(rows.arrays())
    for one in (rows, again):
        torch.testing.assert_close(one.features, extractor.network(images))
        assert np.array_equal(one.labels, pictures.labels)
    assert rows.features.data_ptr() == rows.features.data_ptr()  # joined once, not at every look


def test_float64_goes_to_the_cpu_where_a_device_has_none():
    assert float64_device("mps") == torch.device("cpu")
    assert float64_device("cpu") == torch.device("cpu")
    assert float64_device("cuda:1") == torch.device("cuda:1")
