"""What Triton's compiler makes of the programs, on a machine without a GPU: registers, spills, shared memory.

    python -m attnorm.layers.kernels.gpu.resources

A program whose registers spill to memory, or of which too few fit on a multiprocessor, is slow whatever else is right.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.kernels.gpu import empty_regional_norm, launches
from attnorm.layers.kernels.gpu.launches import Gradients, Launch, Options, Statistics

CAPABILITIES = (80, 90)
LARGEST_INT32 = (1 << 31) - 1


class Setting(NamedTuple):
    """A call to compile for: maps of 256 x 256 pixels with logits, weight and bias."""

    dtype: torch.dtype = torch.float32
    regions: int = 16
    channels: int = 32
    channels_last: bool = False
    size: int = 256

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "NCHW"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{dtype} n={self.regions} c={self.channels} {layout}"


SETTINGS = tuple(
    Setting(dtype, regions, channels_last=last)
    for dtype in (torch.float32, torch.bfloat16)
    for last in (False, True)
    for regions in (8, 16, 32, 33)
)


class Resources(NamedTuple):
    """Of one compiled program: registers a thread, bytes a thread spills, bytes of shared memory, and its PTX."""

    program: str
    registers: int
    spilled: int
    shared: int
    ptx: str


def launches_of(setting: Setting) -> list[Launch]:
    """Everything that a forward and a backward call launch, on tensors without memory."""
    form = torch.channels_last if setting.channels_last else torch.contiguous_format

    def empty_map(channels: int, dtype: torch.dtype) -> Tensor:
        shape = (2, channels, setting.size, setting.size)
        return torch.empty(shape, dtype=dtype, device="meta").to(memory_format=form).flatten(2)

    v, s = empty_map(setting.channels, setting.dtype), empty_map(setting.regions, torch.float32)
    weight, bias = (torch.empty(setting.regions, setting.channels, device="meta") for _ in range(2))
    options = Options(0.1, 1e-5)
    out, *rest = empty_regional_norm(v, s)
    found = Statistics(*rest)
    into = Gradients(
        torch.empty_like(v),
        torch.empty_like(s),
        v.new_empty(2, 5, setting.channels, setting.regions, dtype=found.mean.dtype),
        v.new_empty(2, 2, setting.regions, setting.channels, dtype=found.mean.dtype),
    )
    return [
        *launches.forward(v, s, weight, bias, None, options, out, found),
        *launches.backward(v, s, weight, bias, torch.empty_like(v), options, found, into),
    ]


def compile_launch(launch: Launch, capability: int) -> Resources:
    """Compiles what the launch would run on a GPU of this compute capability (80 for 8.0)."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from attnorm.layers.kernels.gpu import programs

    function = getattr(programs, launch.program)
    names, settings = function.arg_names, dict(launch.settings)
    compiler_options = {name: settings.pop(name) for name in ("num_warps", "num_stages") if name in settings}
    values = dict(zip(names, launch.arguments, strict=False)) | settings
    annotated = {p.name: p.annotation_type for p in function.params}
    signature, constants, attributes = {}, {}, {}
    for index, name in enumerate(names):
        value = values[name]
        signature[name] = annotated[name] or _type_of(value) if name not in settings else "constexpr"
        if signature[name] == "constexpr":
            constants[name] = value
        elif isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(function, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=compiler_options)
    return Resources(launch.program, *_usage(compiled.asm["cubin"]), compiled.metadata.shared, compiled.asm["ptx"])


def table(settings: Sequence[Setting] = SETTINGS, capabilities: Sequence[int] = CAPABILITIES) -> Iterator[str]:
    """One line a setting: registers of every program, with the bytes spilled where there are any."""
    for capability in capabilities:
        for number, setting in enumerate(settings):
            found = [compile_launch(launch, capability) for launch in launches_of(setting)]
            if number == 0:
                yield f"sm_{capability}: registers a thread / spilled bytes a thread / shared bytes"
                yield " " * 46 + "".join(f"{r.program:>19}" for r in found)
            yield f"{setting!s:46}" + "".join(f"{f'{r.registers}/{r.spilled}/{r.shared}':>19}" for r in found)


def _type_of(value: Any) -> str:
    """As a launch would type it; None and 1 become constants, so that a stride of 1 is known to the compiler."""
    import triton.runtime.jit as jit

    if value is None or (isinstance(value, int) and value == 1):
        return "constexpr"
    if isinstance(value, Tensor):
        return f"*{jit.type_canonicalisation_dict[str(value.dtype).removeprefix('torch.')]}"
    if isinstance(value, int):
        return "i32" if value <= LARGEST_INT32 else "i64"
    raise TypeError(f"a launch takes tensors, integers and annotated floats, not {value!r}")


def _usage(cubin: bytes) -> tuple[int, int]:
    """Registers and stack bytes a thread; what the programs keep on the stack is what the registers could not hold."""
    import triton

    tool = triton.knobs.nvidia.cuobjdump.path
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "program.cubin"
        file.write_bytes(cubin)
        text = subprocess.run([tool, "-res-usage", file], check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    if found is None:
        raise RuntimeError(f"{tool} reports no registers: {text!r}")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
