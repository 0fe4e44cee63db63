"""What Triton's compiler makes of the programs, on a machine without a GPU: spills, shared memory."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from attnorm.layers.kernels.gpu import launches
from attnorm.layers.kernels.problem import Problem, empty_statistics


class Resources(NamedTuple):
    """Of one compiled program: bytes that a thread spills, bytes of shared memory, and its PTX."""

    program: str
    spilled: int
    shared: int
    ptx: str


def launches_of(dtype, n, channels_last):
    """Everything that a forward and a backward call launch on maps of 32 channels, on tensors without memory."""
    form = torch.channels_last if channels_last else torch.contiguous_format

    def empty_map(channels, dtype):
        return torch.empty(2, channels, 256, 256, dtype=dtype, device="meta").to(memory_format=form).flatten(2)

    v, s = empty_map(32, dtype), empty_map(n, torch.float32)
    affine = (torch.empty(n, 32, device="meta") for _ in range(2))
    statistics = empty_statistics(v, n, torch.float32)
    problem = Problem(v, s, statistics, *affine, 1e-5, temperature=0.1, grad=torch.empty_like(v))
    problem.out, problem.d_features, problem.d_layout = torch.empty_like(v), torch.empty_like(v), torch.empty_like(s)
    terms = torch.empty(2, 2, n, 32, device="meta")
    projection = launches.project(v, torch.empty(2, n, 32, device="meta"))[1]
    return [projection, *launches.forward(problem), *launches.backward(problem, terms)]


def compile_launch(launch, capability):
    """Compiles what the launch would run on a GPU of this compute capability (80 for 8.0)."""
    import triton
    import triton.runtime.jit as jit
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from attnorm.layers.kernels.gpu import programs

    function = getattr(programs, launch.program)
    names, settings = function.arg_names, dict(launch.settings)
    options = {name: settings.pop(name) for name in ("num_warps", "num_stages")}
    constants, attributes = {}, {}

    def type_of(value, *place):
        """As a launch would type it; None and 1 become constants, so that a stride of 1 is known to the compiler."""
        if isinstance(value, tuple):
            return tuple(type_of(each, *place, index) for index, each in enumerate(value))
        if value is None or (isinstance(value, int) and value == 1) or names[place[0]] in settings:
            constants[place] = value
            return "constexpr"
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[place] = [["tt.divisibility", 16]]
        if isinstance(value, Tensor):
            return f"*{jit.type_canonicalisation_dict[str(value.dtype).removeprefix('torch.')]}"
        return "fp64" if isinstance(value, float) else "i32" if value < 1 << 31 else "i64"

    values = dict(zip(names, launch.arguments, strict=False)) | settings
    signature = {name: type_of(values[name], index) for index, name in enumerate(names)}
    source = ASTSource(function, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return Resources(launch.program, _spilled(compiled.asm["cubin"]), compiled.metadata.shared, compiled.asm["ptx"])


def _spilled(cubin):
    """Stack bytes a thread: what the programs keep there is what the registers could not hold."""
    import triton

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "program.cubin"
        file.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"STACK:(\d+)", text)[1])
