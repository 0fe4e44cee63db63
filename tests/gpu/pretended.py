"""A pretended GPU: FakeTensors on "cuda" in a PyTorch that is built for the CPU. For a process of its own.

    python -m tests.gpu.pretended GUARD.so layers|class-conditional|inpainting

prints one JSON object: what a real GPU would be asked for, and where the host would wait for it.
"""

# ruff: noqa: E402 - the guard is loaded before PyTorch
import collections
import ctypes
import importlib.util
import itertools
import json
import os
import sys
from pathlib import Path

LIBRARIES = Path(importlib.util.find_spec("torch").origin).parent / "lib"
for _name in ("libc10.so", "libtorch_cpu.so"):
    ctypes.CDLL(str(LIBRARIES / _name), mode=ctypes.RTLD_GLOBAL)
ctypes.CDLL(sys.argv[1])  # before torch asks whether there are hooks

import torch
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"}
NO_KERNEL = {"detach", "alias", "lift_fresh", "_unsafe_view", "_reshape_alias", "resize_"}


class Seen(TorchDispatchMode):
    """Counts launches (operators that are no views), waits of the host, and copies between host and device."""

    def __init__(self):
        super().__init__()
        self.counts: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.split("::")[1]
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if name in WAITS and any(t.is_cuda for t in inputs):
            self.counts["waits"] += 1
        if name == "_local_scalar_dense":
            return 1.0 if inputs[0].is_floating_point() else 1
        out = function(*args, **(kwargs or {}))
        outputs = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        kinds = {t.device.type for t in (*inputs, *outputs)} - {"meta"}
        if name in ("_to_copy", "copy_") and len(kinds) > 1:
            self.counts["copies"] += 1
        elif (
            "cuda" in {t.device.type for t in outputs}
            and not function.is_view
            and name not in NO_KERNEL
            and "empty" not in name
        ):
            self.counts["launches"] += 1
        return out


def pretend():
    """Makes PyTorch's Python side believe in the two GPUs of the guard."""
    cuda = torch.cuda
    cuda.is_available, cuda.device_count, cuda.current_device = lambda: True, lambda: 2, lambda: 0
    cuda.is_initialized, cuda._lazy_init, cuda._is_in_bad_fork = lambda: False, lambda: None, lambda: False
    cuda.is_bf16_supported = lambda including_emulation=True: True
    cuda.get_device_capability = lambda device=None: (9, 0)
    cuda.manual_seed_all = lambda seed: None
    cuda.is_current_stream_capturing = lambda: False
    cuda.Stream = lambda device=None: None
    fake_tensor.init_gpu_context = lambda *arguments: None
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    nn.Module._apply = _apply


def _apply(self, function, recurse=True):
    """As PyTorch's, for parameters that are fake: those PyTorch would swap, and cannot."""
    for child in self.children():
        child._apply(function)
    with torch.no_grad():
        for name, p in self._parameters.items():
            self._parameters[name] = None if p is None else nn.Parameter(function(p), p.requires_grad)
        for name, buffer in self._buffers.items():
            buffer.constant = None  # of torch.tensor(0): its value would be computed with
            self._buffers[name] = function(buffer)
    return self


def layers():
    """Every set of options, forward and backward: how many, and what they ask for in all."""
    from attnorm import AttentiveNorm2d

    total = collections.Counter()
    choices = (
        ("instance", "batch"),
        ("weighted", "algorithm1"),
        ("entity", "none"),
        (False, True),
        (None, torch.bfloat16, torch.float16),
    )
    for statistics, variance, affine, last, half in itertools.product(*choices):
        form = torch.channels_last if last else torch.contiguous_format
        with FakeTensorMode(allow_non_fake_inputs=True):
            layer = AttentiveNorm2d(32, statistics=statistics, variance=variance, affine=affine, device="cuda")
            x = torch.randn(2, 32, 16, 16, device="cuda").contiguous(memory_format=form).requires_grad_()
            with Seen() as seen, torch.autocast("cuda", half, enabled=half is not None):
                y = layer(x)
                y.float().mean().backward()
            assert (y.dtype, y.device, y.is_contiguous(memory_format=form)) == (x.dtype, x.device, True)
            assert all(p.grad is not None and p.grad.is_cuda for p in layer.parameters())
        total += seen.counts + collections.Counter(tried=1)
    return {name: total[name] for name in ("tried", "launches", "waits", "copies")}


def step(task):
    """A whole step after the first, of batches that the reading thread has moved to the GPU."""
    from attnorm.config import derive
    from attnorm.metrics.distributed import Processes
    from attnorm.presets import get_preset
    from attnorm.training.loop import TASKS

    name, cuda = {"class-conditional": "an-gan-cifar10", "inpainting": "inpaint-an-128"}[task], torch.device("cuda")
    changes = {"device": "cuda", "batch_size": 4, "precision": "bf16"}
    changes |= {"phases.at_step": 0} if task == "inpainting" else {}
    config = derive(get_preset(name), changes)
    with FakeTensorMode(allow_non_fake_inputs=True):
        made = TASKS[task][1](config, Processes(cuda))
        states = [network.state_dict() for network in (*made.networks.values(), made.ema.module)]
        assert all(value.is_cuda for state in states for value in state.values())
        for number in range(2):
            side = config.prepared_size
            images = torch.zeros(4, side, side, 3, dtype=torch.uint8, device=cuda)
            beside = torch.zeros(4, dtype=torch.long, device=cuda)
            if task == "inpainting":
                beside = torch.zeros(4, config.image_size, config.image_size, dtype=torch.bool, device=cuda)
            count = made.batches_before(number + 1) - made.batches_before(number)
            with Seen() as seen:
                metrics = made.step(number, [(images, beside)] * count)
        assert all(value.is_cuda for value in metrics.values())
    return {name: seen.counts[name] for name in ("launches", "waits", "copies")}


if __name__ == "__main__":
    pretend()
    print(json.dumps(layers() if sys.argv[2] == "layers" else step(sys.argv[2])), flush=True)
    os._exit(0)  # the guard does not survive an orderly end
