"""The compiled library of the CPU kernel: found in a cache, or built there when it is first needed.

It has a plain C interface and includes no header of PyTorch: a compiler makes it in about two seconds instead of a
minute, any version of PyTorch can call it, and neither ninja nor a build step at installation is needed. Its parallel
regions run on the OpenMP runtime that PyTorch has already loaded: the linker is given that very file, because a
second runtime in the process would bring a second set of threads, which fights with the first for the processors.

Importing this module does nothing; `refusal` builds or loads on its first call. Environment:

    ATTNORM_CACHE=FOLDER     where builds are kept, instead of the user's cache folder
    CXX=COMPILER             tried first, before g++, c++ and clang++

With ATTNORM_KERNEL=off it is neither built nor loaded: see `registry.refusal`.
"""

import contextlib
import ctypes
import functools
import hashlib
import itertools
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from attnorm.cache import cache_folder

SOURCES = Path(__file__).parent / "cpu"
COMPILE_SECONDS = 300.0  # a compiler that takes longer hangs
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-ffp-contract=fast", "-Wno-psabi")
# What each of PyTorch's names for this processor's vector instructions allows the compiler; anything else, such as
# ARM's, is the compiler's default. A library is built for one of them and kept under its name, so that machines that
# share a home do not load each other's.
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma")
VECTOR_FLAGS = {
    "AVX512_BF16": (*_AVX512, "-mavx512bf16"),
    "AVX512": _AVX512,
    "AVX2": ("-mavx2", "-mfma"),
}

_log = logging.getLogger("attnorm")
_lock = threading.Lock()


def refusal() -> str | None:
    """None where the library is at hand, after building it if that was needed; else a sentence that says why not."""
    with _lock:
        return _load_once()[1]


refusal._dynamo_marked_constant = True  # type: ignore[attr-defined] # see registry.py


def library() -> ctypes.CDLL:
    """The loaded library; call `refusal` first."""
    found, reason = _load_once()
    assert found is not None, reason
    return found


@functools.lru_cache(maxsize=1)
def _load_once() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return _load_or_build(), None
    except (OSError, RuntimeError) as error:  # no compiler, a full disk, no home: nothing that may end the work
        _log.warning(
            "attnorm: no CPU kernel, so layers run on PyTorch's own operations, several times slower: %s "
            "(ATTNORM_KERNEL=off silences this)",
            error,
        )
        return None, str(error)


def _load_or_build() -> ctypes.CDLL:
    if os.name != "posix":
        raise RuntimeError(f"it is not built on {platform.system()}")
    runtime = _openmp_runtime()
    name, cache = f"regional_norm-{_key(runtime)}.so", cache_folder()
    if cache.is_dir() and cache.stat().st_mode & stat.S_IWOTH:
        raise RuntimeError(f"everybody may write to the cache {cache}, and what lies there would be run")
    if (cache / name).is_file():
        try:
            return ctypes.CDLL(str(cache / name))
        except OSError as error:
            _log.info("%s cannot be loaded and is built again: %s", cache / name, error)
    _log.info("compiling attnorm's CPU kernel, once for this machine")
    with _writable(cache) as folder:
        return ctypes.CDLL(str(_build(folder, name, runtime)))


def _key(runtime: Path) -> str:
    """Names a build by everything that it depends on, except the compiler: a machine without one may load it."""
    digest = hashlib.sha256()
    for source in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(source.name.encode() + source.read_bytes())
    digest.update(repr((FLAGS, _vector_flags(), torch.__version__, runtime.name, platform.libc_ver())).encode())
    return f"{platform.machine()}-{_capability().lower()}-{digest.hexdigest()[:16]}"


def _capability() -> str:
    name = torch.backends.cpu.get_cpu_capability().replace(" ", "_")
    processor = Path("/proc/cpuinfo")  # PyTorch does not tell these two apart
    has_pairs = name == "AVX512" and processor.exists() and "avx512_bf16" in processor.read_text()
    return "AVX512_BF16" if has_pairs else name


def _vector_flags() -> list[tuple[str, ...]]:
    """The flags for this processor; compilers before GCC 10 and Clang 9 know none for bfloat16."""
    flags = VECTOR_FLAGS.get(_capability(), ())
    return [flags, _AVX512] if "-mavx512bf16" in flags else [flags]


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    """The folder, made if need be; where it cannot be written to, a temporary one that goes away afterwards."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_dir() and os.access(folder, os.W_OK):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="attnorm-") as temporary:  # a loaded library needs its file no longer
        yield Path(temporary)


def _openmp_runtime() -> Path:
    """The file of the OpenMP runtime that PyTorch has loaded."""
    if not torch.backends.openmp.is_available():
        raise RuntimeError("this PyTorch was built without OpenMP")
    files = [file for file in _loaded_files() if file.name.startswith(("libgomp", "libomp", "libiomp5"))]
    if not files:
        raise RuntimeError("PyTorch's OpenMP runtime was not found")
    # Another package may have brought one of its own: PyTorch's lies nearest to it.
    torch_folder = Path(torch.__file__).parent
    return max(files, key=lambda file: len(os.path.commonpath([file, torch_folder])))


def _loaded_files() -> list[Path]:
    """The shared libraries in this process, or where that is not to be known, those that come with PyTorch."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        lines = os.fsdecode(maps.read_bytes()).split("\n")  # of any file that is mapped, whatever its name
        paths = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
        return [Path(path) for path in sorted(paths) if Path(path).is_file()]
    return sorted((Path(torch.__file__).parent / "lib").iterdir())


def _compilers() -> list[str]:
    wanted = [os.environ.get("CXX", ""), "g++", "c++", "clang++"]
    return list(dict.fromkeys(name for name in wanted if name and shutil.which(shlex.split(name)[0])))


def _build(folder: Path, name: str, runtime: Path) -> Path:
    """Compiles aside and renames: another process sees a whole library or none."""
    compilers = _compilers()
    if not compilers:
        raise RuntimeError("there is no C++ compiler (g++, c++ or clang++)")
    reasons = []
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as aside:
        for compiler, flags in itertools.product(compilers, _vector_flags()):
            try:
                built = _compile([*shlex.split(compiler), *FLAGS, *flags], Path(aside), runtime)
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
                reasons.append(f"{compiler}: {error}")
                continue
            return built.replace(folder / name)
    raise RuntimeError("; ".join(reasons))


def _compile(compiler: list[str], aside: Path, runtime: Path) -> Path:
    openmp = ["-Xclang", "-fopenmp"] if sys.platform == "darwin" else ["-fopenmp"]
    made, library_file = aside / "regional_norm.o", aside / "regional_norm.so"
    source = str(SOURCES / "regional_norm.cpp")
    _call([*compiler, *openmp, "-c", source, "-o", str(made)])
    # Linked without -fopenmp, which would name the compiler's own runtime.
    _call([*compiler, "-shared", str(made), str(runtime), "-o", str(library_file)])
    return library_file


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise RuntimeError(lines[0] if lines else f"exit code {done.returncode}")
