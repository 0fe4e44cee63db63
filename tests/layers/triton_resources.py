"""What Triton's compiler makes of the programs, on a machine without a GPU: registers, spills, shared memory."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.kernels.gpu import launches
from attnorm.layers.kernels.gpu.launches import Launch
from attnorm.layers.kernels.problem import Problem, empty_statistics


class Setting(NamedTuple):
    """A call to compile for: maps of 32 channels and 256 x 256 pixels with logits, weight and bias."""

    dtype: torch.dtype
    regions: int
    channels_last: bool


SETTINGS = tuple(
    Setting(dtype, regions, last)
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
        return torch.empty(2, channels, 256, 256, dtype=dtype, device="meta").to(memory_format=form).flatten(2)

    v, s = empty_map(32, setting.dtype), empty_map(setting.regions, torch.float32)
    affine = (torch.empty(setting.regions, 32, device="meta") for _ in range(2))
    statistics = empty_statistics(v, setting.regions, torch.float32)
    problem = Problem(v, s, statistics, *affine, 1e-5, temperature=0.1, grad=torch.empty_like(v))
    problem.out, problem.d_features, problem.d_layout = torch.empty_like(v), torch.empty_like(v), torch.empty_like(s)
    terms = torch.empty(2, 2, setting.regions, 32, device="meta")
    return [*launches.forward(problem), *launches.backward(problem, terms)]


def compile_launch(launch: Launch, capability: int) -> Resources:
    """Compiles what the launch would run on a GPU of this compute capability (80 for 8.0)."""
    import triton
    import triton.runtime.jit as jit
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from attnorm.layers.kernels.gpu import programs

    def type_of(value: Any) -> str:
        """As a launch would type it; None and 1 become constants, so that a stride of 1 is known to the compiler."""
        if value is None or (isinstance(value, int) and value == 1):
            return "constexpr"
        if isinstance(value, Tensor):
            return f"*{jit.type_canonicalisation_dict[str(value.dtype).removeprefix('torch.')]}"
        return "i32" if value < 1 << 31 else "i64"

    function = getattr(programs, launch.program)
    names, settings = function.arg_names, dict(launch.settings)
    compiler_options = {name: settings.pop(name) for name in ("num_warps", "num_stages") if name in settings}
    values = dict(zip(names, launch.arguments, strict=False)) | settings
    annotated = {p.name: p.annotation_type for p in function.params}
    signature, constants, attributes = {}, {}, {}
    for index, name in enumerate(names):
        value = values[name]
        signature[name] = annotated[name] or type_of(value) if name not in settings else "constexpr"
        if signature[name] == "constexpr":
            constants[name] = value
        elif isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(function, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=compiler_options)
    return Resources(launch.program, *_usage(compiled.asm["cubin"]), compiled.metadata.shared, compiled.asm["ptx"])


def _usage(cubin: bytes) -> tuple[int, int]:
    """Registers and stack bytes a thread; what the programs keep on the stack is what the registers could not hold."""
    import triton

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "program.cubin"
        file.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, text
    return int(found[1]), int(found[2])
