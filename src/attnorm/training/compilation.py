"""`torch.compile` of networks in training, in place: their parameters keep their names."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from attnorm.errors import UserError

BACKEND = "inductor"


def compile_network(network: nn.Module) -> None:
    """Compiles what calling `network` does, for every shape and mode that it is called with, when it first is.

    `network.forward(…)` and a deep copy of the network stay as they are.
    """
    # Every mode has a graph of its own: with and without gradients, of its own weights or only of its input.
    network.compile(backend=BACKEND, dynamic=False)


def check_compiler(device: torch.device) -> None:
    """Compiles a small function, forwards and backwards.

    Raises:
        UserError: it cannot be compiled; the message says why.
    """
    x = torch.ones(8, device=device, requires_grad=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(lambda t: (t * t).sin().sum(), backend=BACKEND, fullgraph=True)(x).backward()
    except Exception as error:  # whatever a compiler, its compiler or its loader raises
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise UserError(
            f"compile: true was asked for, but torch.compile cannot run here ({reason.strip()}): "
            "install a C++ compiler such as g++, or leave compile out"
        ) from error
