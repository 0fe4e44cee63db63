"""Precision and random numbers of a run, and the signals that stop it.

Randomness is a pure function of (seed, step, …), so a resumed run draws the same numbers as an undisturbed one.
"""

import hashlib
import os
import signal
import threading
from typing import Any

import torch
from torch import distributed

from attnorm.training.config import Precision


def resolve_precision(name: Precision, device: torch.device) -> Precision:
    """Replaces "auto": by bf16 if the processor has instructions for it, else by float32, which is then faster."""
    if name != "auto":
        return name
    if device.type == "mps":
        return "float32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch cannot detect it
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def set_numerics(precision: Precision, *, deterministic: bool = False) -> None:
    """Sets the precision and algorithms of this process's convolutions and matrix products on a GPU.

    With "float32", convolutions do not use TF32; otherwise they may. Matrix products never do, because they compute
    moments. `deterministic` selects slower deterministic algorithms; PyTorch warns about operations that have none.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The autocast context of the networks; losses, moments and spectral norms stay in float32."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision in ("bf16", "fp16"))


def seed_for(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed for one purpose, such as (seed, step, piece, "noise")."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(device: torch.device, seed: int, *purpose: int | str) -> torch.Generator:
    """A new generator on `device` for one purpose."""
    return torch.Generator(device).manual_seed(seed_for(seed, *purpose))


# A scheduler sends SIGTERM or, with Slurm's --signal=USR1@120, SIGUSR1. Windows has no SIGUSR1.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopSignals:
    """A context in which signals request a checkpoint and a clean stop; a second SIGINT stops at once.

    number: the signal, once all processes know of it, else 0.
    """

    def __init__(self, num_processes: int) -> None:
        self.number = 0
        self._received = 0  # by this process, so that only a second Ctrl-C to it stops at once
        # Its own group on the CPU, so that the exchange does not wait for the device.
        self._group = distributed.new_group(backend="gloo") if num_processes > 1 else None

    def __enter__(self) -> "StopSignals":
        in_main = threading.current_thread() is threading.main_thread()  # only the main thread may set handlers
        self._before = {each: signal.signal(each, self.receive) for each in STOP_SIGNALS if in_main}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def receive(self, number: int, frame: object) -> None:
        """The signal handler; raises KeyboardInterrupt for a second SIGINT."""
        if self._received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self._received = number

    def asked(self) -> bool:
        """Whether any process got a signal. All must call it after each step, and get the same answer."""
        number = torch.tensor(self._received)
        if self._group is not None:
            distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group)
        self.number = int(number.item())
        return self.number != 0
