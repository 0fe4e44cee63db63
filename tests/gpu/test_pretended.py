"""What a GPU would be asked for, seen on a pretended one: no waits, no copies, a bounded number of launches."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT, GUARD = Path(__file__).parents[2], Path(__file__).with_name("cuda_guard.cpp")


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    compiler, torch_folder = shutil.which("g++"), Path(torch.__file__).parent
    if compiler is None or torch.version.cuda is not None or sys.platform != "linux":
        pytest.skip("the pretended GPU needs g++, Linux and a PyTorch that is built for the CPU")
    library = tmp_path_factory.mktemp("guard") / "guard.so"
    include = torch_folder / "include"
    options = ["-O0", "-std=c++20", "-shared", "-fPIC", f"-I{include}", f"-I{include}/torch/csrc/api/include"]
    linked = [f"-L{torch_folder}/lib", "-lc10", "-ltorch_cpu"]
    done = subprocess.run([compiler, *options, GUARD, "-o", library, *linked], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the guard does not compile against this PyTorch: {done.stderr.strip()[-200:]}")
    return library


@pytest.mark.parametrize(
    ("what", "launches"), [("layers", 48 * 200), ("class-conditional", 1900), ("inpainting", 3000)], ids=str
)
def test_nothing_waits_and_nothing_is_copied(what, launches, guard):
    """Layers: all sets of options, forward and backward. Tasks: a step, in bf16, of batches that were read ahead."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.gpu.pretended", guard, what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert (seen["waits"], seen["copies"]) == (0, 0)
    assert 0 < seen["launches"] <= launches
