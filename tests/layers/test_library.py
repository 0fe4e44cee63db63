"""How the compiled library comes to be: built, found again, refused, and never at import."""

import os
import subprocess
import sys

import pytest
import torch

from attnorm.layers import AttentiveNorm2d, backend_for, regional_norm
from attnorm.layers.kernels import library

PATH, HAS_COMPILER = os.environ["PATH"], bool(library._compilers())
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler on this machine")
V, S = torch.randn(1, 3, 5, 5), torch.full((1, 2, 5, 5), 0.5)


@pytest.fixture(autouse=True)
def _look_again():
    """Each test sees the environment that it sets, and the next one what there was before."""
    library._load_once.cache_clear()
    yield
    library._load_once.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty place for builds."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ATTNORM_CACHE", str(folder))
    monkeypatch.delenv("ATTNORM_KERNEL", raising=False)
    quick = ("-O0", *(flag for flag in library.FLAGS if flag != "-O3"))  # a third of the time
    monkeypatch.setattr(library, "FLAGS", quick)
    return folder


@pytest.fixture
def no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)


@needs_compiler
def test_the_first_call_builds_and_the_next_process_finds(cache, no_compiler, monkeypatch, caplog):
    with monkeypatch.context() as before:
        before.setenv("PATH", PATH)
        assert backend_for(V, S) == "cpp"
    built = list(cache.iterdir())
    assert [file.suffix for file in built] == [".so"]
    library._load_once.cache_clear()  # as a new process, on a machine without a compiler
    assert backend_for(V, S) == "cpp"
    assert list(cache.iterdir()) == built
    assert not caplog.records


@pytest.mark.parametrize(("broken", "reason"), [(False, "no C++ compiler"), (True, "out of ideas")])
def test_without_a_compiler_layers_work_and_one_line_says_why(
    broken, reason, cache, no_compiler, tmp_path, monkeypatch, caplog
):
    if broken:
        script = tmp_path / "broken-c++"
        script.write_text("#!/bin/sh\necho 'ignore me' >&2\necho 'fatal error: out of ideas' >&2\nexit 1\n")
        script.chmod(0o755)
        monkeypatch.setenv("CXX", f"{script} -Wall")
    assert backend_for(V, S) == "reference"
    layer = AttentiveNorm2d(8, 4)
    for _ in range(2):
        layer(torch.randn(1, 8, 6, 6)).sum().backward()
    (line,) = caplog.messages
    assert reason in line and "ignore me" not in line and "\n" not in line
    assert not cache.exists() or not list(cache.iterdir())  # nothing half done is left
    with pytest.raises(ValueError, match="'cpp' cannot run this call: its library is missing: "):
        regional_norm(V, S, backend="cpp")


@needs_compiler
def test_a_damaged_build_is_built_again_and_none_that_anybody_may_have_put_there_is_loaded(cache):
    cache.mkdir()
    file = cache / f"regional_norm-{library._key(library._openmp_runtime())}.so"
    file.write_bytes(b"no library")
    assert library.refusal() is None
    assert file.stat().st_size > 10_000
    cache.chmod(0o777)
    library._load_once.cache_clear()
    assert "everybody may write" in library.refusal()


@needs_compiler
def test_processes_that_start_at_once_all_get_a_whole_library(cache):
    code = (
        "import sys; from attnorm.layers.kernels import library\n"
        "library.FLAGS = ('-std=c++17', '-fPIC', '-Wno-psabi'); sys.exit(library.refusal())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert [file.suffix for file in cache.iterdir()] == [".so"]


def test_importing_neither_builds_nor_loads(tmp_path):
    code = (
        "import attnorm; from attnorm import AttentiveNorm2d; AttentiveNorm2d(8, 4)\n"
        "from attnorm.layers.kernels import library\n"
        "assert library._load_once.cache_info().misses == 0\n"
        "assert 'regional_norm-' not in open('/proc/self/maps').read() if sys.platform == 'linux' else True\n"
        "from attnorm.layers.kernels import gpu\n"
        "assert gpu.refusal(torch.device('cpu'), {torch.float32}, 4) and 'triton' not in sys.modules\n"
    )
    environment = {**os.environ, "ATTNORM_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", "import sys, torch\n" + code], env=environment, check=True)
    assert not (tmp_path / "cache").exists()


@needs_compiler
@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_builds_for_lesser_processors_agree(capability, cache, monkeypatch):
    """Every processor that runs this test can run those."""
    best = torch.backends.cpu.get_cpu_capability()
    if best not in ("AVX512", "AVX2"):
        pytest.skip(f"the best of this processor is {best}")
    v, logits = torch.randn(2, 9, 13, 11, requires_grad=True), torch.randn(2, 5, 13, 11)
    expected = regional_norm(v, logits.softmax(1), backend="reference")
    wanted = torch.autograd.grad(expected.square().sum(), v)[0]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    out = regional_norm(v, logits.softmax(1), backend="cpp")
    assert capability.lower() in next(cache.iterdir()).name
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), v)[0], wanted, rtol=1e-4, atol=1e-4)
