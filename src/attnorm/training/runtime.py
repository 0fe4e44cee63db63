"""Number format, compilation and random numbers of a run.

Randomness is a pure function of (seed, step, …): a resumed run draws what the undisturbed run would have drawn.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import torch
from torch import nn

from attnorm.training.config import Precision


def resolve_precision(name: Precision, device: torch.device) -> Precision:
    """ "float32" or "bf16"; "auto" is bf16 where the processor has instructions for it: elsewhere it is slower."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # an older PyTorch cannot tell
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def set_numerics(precision: Precision, *, deterministic: bool = False) -> None:
    """Sets what PyTorch computes convolutions and products with on a GPU, in this process.

    "float32" means float32: elsewhere convolutions of float32 may round to TF32. Products never do, as moments are
    made of them. Deterministic results come from slower algorithms, which are then not chosen by their speed;
    PyTorch warns of an operation that has none.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context that networks run in; losses, moments and spectral norms stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def compile_network(network: nn.Module) -> None:
    """Compiles what calling `network` does; `network.forward(…)` and a deep copy of it stay as they are."""
    # Every mode has a graph of its own: with and without gradients, of its own weights or only of its input.
    network.compile(dynamic=False)


def seed_for(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed for one purpose, such as (seed, step, piece of the batch, "noise")."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(device: torch.device, seed: int, *purpose: int | str) -> torch.Generator:
    """A fresh generator on `device` for one purpose."""
    return torch.Generator(device).manual_seed(seed_for(seed, *purpose))
