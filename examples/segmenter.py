"""A small segmenter of building fronts, four times: with no layer, instance norm, attentive normalization or both.

    python examples/segmenter.py --seeds 0 1 2

The built-in `facades-synthetic` draws each picture with the true map of its ten parts, from sky to ground. A network of
3 x 3 convolutions sees 11 pixels; the layer lets a pixel know of all others. It needs `attnorm[train]`.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from attnorm.data.facades import REGIONS, render_facade
from torch import Tensor, nn
from torch.nn import functional

from attnorm import AttentiveNorm2d, orthogonal_loss
from attnorm.metrics.layout import layout_usage, record_layouts

LAYERS: dict[str, Callable[[int, float], nn.Module]] = {
    "none": lambda channels, temperature: nn.Identity(),
    "instance norm": lambda channels, temperature: nn.InstanceNorm2d(channels, affine=True),
    "attentive norm": lambda channels, temperature: AttentiveNorm2d(channels, num_entities=8, temperature=temperature),
    "both": lambda *given: nn.Sequential(LAYERS["instance norm"](*given), LAYERS["attentive norm"](*given)),
}


def segmenter(layer: str, temperature: float = 0.3, channels: int = 32) -> nn.Sequential:
    """(b, 3, h, w) -> (b, 10, h, w). The convolutions start alike whatever the layer between them is."""
    convs = [nn.Conv2d(c, channels, 3, padding=1) for c in (3, *[channels] * 4)]
    head = nn.Conv2d(channels, len(REGIONS), 1)
    body = [module for conv in convs for module in (conv, nn.ReLU())]
    body.insert(5, LAYERS[layer](channels, temperature))  # after the third convolution
    return nn.Sequential(*body, head)


def facades(first: int, count: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Pictures (count, 3, size, size) in [-1, 1] and their parts (count, size, size)."""
    drawn = [render_facade(0, index, size) for index in range(first, first + count)]
    images = torch.from_numpy(np.stack([facade.image for facade in drawn])).permute(0, 3, 1, 2) / 127.5 - 1
    return images, torch.from_numpy(np.stack([facade.regions for facade in drawn])).long()


def mean_iou(found: Tensor, true: Tensor) -> float:
    """Intersection over union of each part over all pictures, and its mean over the parts that occur."""
    pairs = torch.bincount(true.flatten() * len(REGIONS) + found.flatten(), minlength=len(REGIONS) ** 2)
    confusion = pairs.reshape(len(REGIONS), -1).double()
    union = confusion.sum(0) + confusion.sum(1) - confusion.diag()
    return (confusion.diag() / union)[union > 0].mean().item()


def train(network: nn.Module, images: Tensor, regions: Tensor, steps: int, seed: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    order = torch.Generator().manual_seed(seed)  # its own, so that self-sampling does not change the batches
    for _ in range(steps):
        batch = torch.randint(len(images), (16,), generator=order)
        loss = functional.cross_entropy(network(images[batch]), regions[batch]) + 1e-3 * orthogonal_loss(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="of training, batch 16 (500)")
    parser.add_argument("--pictures", type=int, default=240, help="to train on; half as many others test (240)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each trains every network once (0)")
    parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS), help="(all)")
    parser.add_argument("--temperature", type=float, default=0.3, help="of attentive normalization (0.3)")
    args = parser.parse_args(argv)

    images, regions = facades(0, args.pictures)
    unseen, truth = facades(args.pictures, max(1, args.pictures // 2))
    for seed in args.seeds:
        for layer in args.layers:
            torch.manual_seed(seed)
            network = segmenter(layer, args.temperature)
            train(network, images, regions, args.steps, seed)
            with torch.no_grad(), record_layouts(network.eval()) as layouts:
                found = network(unseen).argmax(1)
            parameters = sum(p.numel() for p in network.parameters())
            print(f"seed {seed}  {layer:<14}  {parameters:6} parameters  mIoU {mean_iou(found, truth):.4f}", end="")
            for layout in layouts.values():
                sharpness, effective = layout_usage(layout)
                print(f"  (sharpness {sharpness:.2f}, {effective:.1f} of {layout.shape[1]} entities)", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
