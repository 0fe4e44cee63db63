"""Class-conditional batch normalization: one gain and one bias per class (Dumoulin et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnorm.layers.checks import require_labels, require_whole
from attnorm.layers.context import without_autocast


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalization whose gain and bias come from the label, or from a mixture of labels.

    A mixture (b, num_classes) mixes the classes' gains and biases linearly, which is how the paper interpolates between
    categories (Fig. 8).

    Shapes:
        x (b, c, h, w); labels (b,) integers in [0, num_classes), or (b, num_classes) floating point -> shape of x.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        require_whole(num_features=num_features, num_classes=num_classes)
        self.num_classes = num_classes
        self.norm = nn.BatchNorm2d(num_features, affine=False)
        self.gain = nn.Embedding(num_classes, num_features)
        self.bias = nn.Embedding(num_classes, num_features)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        require_labels(labels, x.shape[0], self.num_classes, mixtures=True)
        gain, bias = (self._per_image(table, labels).to(x.dtype) for table in (self.gain, self.bias))
        return torch.addcmul(bias[:, :, None, None], self.norm(x), gain[:, :, None, None])

    def _per_image(self, table: nn.Embedding, labels: Tensor) -> Tensor:
        if labels.ndim == 2:
            with without_autocast(labels):
                return labels.to(table.weight.dtype) @ table.weight
        return table(labels)
