"""Compares a small classifier of digits without normalization, with instance norm, attentive norm, and both.

    python examples/classifier.py --seeds 0 1 2

It trains on few images of the built-in `digits` and tests on the rest. Needs `pip install '.[train]'`.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm import AttentiveNorm2d, orthogonal_loss
from attnorm.data.builtin import load_builtin
from attnorm.metrics.layout import layout_usage, record_layouts

LAYERS: dict[str, Callable[[int, float], nn.Module]] = {
    "none": lambda channels, temperature: nn.Identity(),
    "instance norm": lambda channels, temperature: nn.InstanceNorm2d(channels, affine=True),
    "attentive norm": lambda channels, temperature: AttentiveNorm2d(channels, num_entities=8, temperature=temperature),
    "both": lambda *given: nn.Sequential(LAYERS["instance norm"](*given), LAYERS["attentive norm"](*given)),
}


def classifier(layer: str, temperature: float = 0.3, channels: int = 32) -> nn.Sequential:
    """(b, 1, 16, 16) -> (b, 10). The convolutions start with the same weights for every layer."""
    first, second, third = (nn.Conv2d(c, channels, 3, padding=1) for c in (1, channels, channels))
    head = nn.Linear(channels, 10)
    return nn.Sequential(
        *(first, nn.ReLU(), nn.MaxPool2d(2)),
        *(second, LAYERS[layer](channels, temperature), nn.ReLU()),
        *(third, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head),
    )


def train(network: nn.Module, images: Tensor, labels: Tensor, steps: int, seed: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    order = torch.Generator().manual_seed(seed)  # separate, so that self-sampling does not change the batches
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        loss = functional.cross_entropy(network(images[batch]), labels[batch]) + 1e-3 * orthogonal_loss(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="training steps of 32 images (default 1000)")
    parser.add_argument("--images", type=int, default=300, help="training images; the others test (default 300)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training each (default 0)")
    parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS), help="(default: all)")
    parser.add_argument("--temperature", type=float, default=0.3, help="of attentive normalization (default 0.3)")
    args = parser.parse_args(argv)

    digits = load_builtin("digits", size=16)
    images = torch.from_numpy(digits.images[..., :1]).permute(0, 3, 1, 2) / 127.5 - 1
    labels = torch.from_numpy(digits.labels)
    if not 0 < args.images < len(images) or args.steps < 1:
        parser.error(f"--images must be from 1 to {len(images) - 1}, and --steps at least 1")
    for seed in args.seeds:
        known, unseen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tensor_split(
            [args.images]
        )
        for layer in args.layers:
            torch.manual_seed(seed)
            network = classifier(layer, args.temperature)
            train(network, images[known], labels[known], args.steps, seed)
            with torch.no_grad(), record_layouts(network.eval()) as layouts:
                accuracy = (network(images[unseen]).argmax(1) == labels[unseen]).double().mean().item()
            parameters = sum(p.numel() for p in network.parameters())
            print(f"seed {seed}  {layer:<14}  {parameters:6} parameters  accuracy {accuracy:.4f}", end="")
            for layout in layouts.values():
                sharpness, effective = layout_usage(layout)
                print(f"  (sharpness {sharpness:.2f}, {effective:.1f} of {layout.shape[1]} entities)", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
