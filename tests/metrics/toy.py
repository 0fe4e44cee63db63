"""A small network, a small image set and a small generator, and what one of several processes does with them.

`python -m tests.metrics.toy CACHE` is one process of a group that torchrun's variables describe; it prints what it
measured as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from attnorm.data.dataset import ImageDataset
from attnorm.metrics import statistics
from attnorm.metrics.distributed import joined
from attnorm.metrics.evaluation import Evaluator, flat_values

DIM, CLASSES, SIDE = 6, 3, 8
METRICS = ("fd", "kid", "is", "pr", "intra")
NAMES = tuple("abc"[:CLASSES])


class Network(nn.Module):
    """Images (b, 3, h, w) uint8 -> features (b, 6)."""

    def __init__(self, seed=0):
        super().__init__()
        chance = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3 * 16, DIM, generator=chance), requires_grad=False)

    def forward(self, images):
        pooled = nn.functional.adaptive_avg_pool2d(images.float() / 64 - 2, 4)
        return torch.tanh(pooled.flatten(1) @ self.weight / 4) * 3


class Extractor:
    """Counts the images that it was shown."""

    def __init__(self, name="toy", resizer="pooling to 4", fingerprint="0", seed=0):
        self.name, self.resizer, self.fingerprint = name, resizer, fingerprint
        self.batch_size, self.seen, self.network = 4, 0, Network(seed)
        self.device = torch.device("cpu")

    def extract(self, images, *, probabilities=False):
        self.seen += len(images)
        features = self.network(images)
        return features, features.softmax(1) if probabilities else None


def dataset(count=90, seed=0):
    """Images whose brightness tells their class; 3 of the first class for 2 of the second and 1 of the third."""
    chance = np.random.default_rng(seed)
    labels = np.array([0, 0, 0, 1, 1, 2], np.int64)[np.arange(count) % 6]
    return ImageDataset(_images(labels, chance), labels, NAMES)


def draw(labels, seed):
    """A generator that is nearly right."""
    return _images(np.array(labels), np.random.default_rng(seed)) // 8 * 7


def _images(labels, chance):
    noise = chance.integers(0, 150, (len(labels), SIDE, SIDE, 3))
    return (noise + 40 * labels[:, None, None, None]).astype(np.uint8)


def pixels(images):
    """All images of a set, (n, 3, h, w) uint8."""
    return torch.from_numpy(images.read(0, images.count)).permute(0, 3, 1, 2)


def evaluator(cache=None, **changes):
    settings = {"metrics": METRICS, "extractor": Extractor(), "num": 70, "num_real": 60, "per_class": 20}
    settings |= {"data": dataset(), "names": NAMES, "cache": cache} | changes
    return Evaluator(settings.pop("data"), settings.pop("names"), **settings)


def in_small_steps(setattr):
    """With a few images a step, so that two processes take several turns."""
    setattr(statistics, "UPDATE_SIZE", 8)


if __name__ == "__main__":
    in_small_steps(setattr)
    with joined("cpu"):
        measured = []
        for _ in range(2):  # the second time with the statistics that the first one kept
            extractor = Extractor()
            values = evaluator(cache=Path(sys.argv[1]), extractor=extractor).measure(draw)
            measured.append({"values": flat_values(values), "seen": extractor.seen})
        print(json.dumps(measured))
