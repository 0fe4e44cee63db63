"""Compares a small segmenter of digits without normalization, with instance norm, attentive norm, and both.

    python examples/segmenter.py --seeds 0 1 2

Every pixel is background or belongs to a digit from 0 to 9: eleven classes. The 3 x 3 convolutions see 11 of 16 pixels
a side; the layer lets each pixel depend on all others. Needs `pip install '.[train]'`.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm import AttentiveNorm2d, orthogonal_loss
from attnorm.data.builtin import load_builtin
from attnorm.metrics.layout import layout_usage, record_layouts

CLASSES = 11  # background and ten digits

LAYERS: dict[str, Callable[[int, float], nn.Module]] = {
    "none": lambda channels, temperature: nn.Identity(),
    "instance norm": lambda channels, temperature: nn.InstanceNorm2d(channels, affine=True),
    "attentive norm": lambda channels, temperature: AttentiveNorm2d(channels, num_entities=8, temperature=temperature),
    "both": lambda *given: nn.Sequential(LAYERS["instance norm"](*given), LAYERS["attentive norm"](*given)),
}


def segmenter(layer: str, temperature: float = 0.3, channels: int = 32) -> nn.Sequential:
    """(b, 1, h, w) -> (b, 11, h, w). The convolutions start with the same weights for every layer."""
    convs = [nn.Conv2d(c, channels, 3, padding=1) for c in (1, *[channels] * 4)]
    head = nn.Conv2d(channels, CLASSES, 1)
    body = [module for conv in convs for module in (conv, nn.ReLU())]
    body.insert(5, LAYERS[layer](channels, temperature))  # after the third convolution
    return nn.Sequential(*body, head)


def digits(size: int = 16) -> tuple[Tensor, Tensor]:
    """Images (n, 1, size, size) in [-1, 1] and each pixel's class (n, size, size): 0 background, k + 1 digit k."""
    dataset = load_builtin("digits", size)
    grey = torch.from_numpy(dataset.images[..., 0])
    labels = torch.from_numpy(dataset.labels)[:, None, None]
    return grey[:, None] / 127.5 - 1, torch.where(grey >= 128, labels + 1, 0)


def mean_iou(predicted: Tensor, true: Tensor) -> float:
    """Mean intersection over union of the classes that occur, each over all images."""
    pairs = torch.bincount(true.flatten() * CLASSES + predicted.flatten(), minlength=CLASSES**2)
    confusion = pairs.reshape(CLASSES, -1).double()
    union = confusion.sum(0) + confusion.sum(1) - confusion.diag()
    return (confusion.diag() / union)[union > 0].mean().item()


def train(network: nn.Module, images: Tensor, classes: Tensor, steps: int, seed: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    order = torch.Generator().manual_seed(seed)  # separate, so that self-sampling does not change the batches
    for _ in range(steps):
        batch = torch.randint(len(images), (16,), generator=order)
        loss = functional.cross_entropy(network(images[batch]), classes[batch]) + 1e-3 * orthogonal_loss(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="training steps of 16 images (default 1000)")
    parser.add_argument("--images", type=int, default=1200, help="training images; the others test (default 1200)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training each (default 0)")
    parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS), help="(default: all)")
    parser.add_argument("--temperature", type=float, default=0.3, help="of attentive normalization (default 0.3)")
    args = parser.parse_args(argv)

    images, classes = digits()
    if not 0 < args.images < len(images) or args.steps < 1:
        parser.error(f"--images must be from 1 to {len(images) - 1}, and --steps at least 1")
    unseen, truth = images[args.images :], classes[args.images :]
    images, classes = images[: args.images], classes[: args.images]
    for seed in args.seeds:
        for layer in args.layers:
            torch.manual_seed(seed)
            network = segmenter(layer, args.temperature)
            train(network, images, classes, args.steps, seed)
            with torch.no_grad(), record_layouts(network.eval()) as layouts:
                predicted = network(unseen).argmax(1)
            parameters = sum(p.numel() for p in network.parameters())
            print(f"seed {seed}  {layer:<14}  {parameters:6} parameters  mIoU {mean_iou(predicted, truth):.4f}", end="")
            for layout in layouts.values():
                sharpness, effective = layout_usage(layout)
                print(f"  (sharpness {sharpness:.2f}, {effective:.1f} of {layout.shape[1]} entities)", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
