"""The compiled library of the CPU kernel: loaded from a cache, or built there when it is first needed.

It has a plain C interface and includes no header of PyTorch: it compiles in seconds instead of a minute, works with any
version of PyTorch, and needs neither ninja nor a build step at installation. It is linked against the OpenMP runtime
that PyTorch has loaded: a second runtime would start a second set of threads, and both would compete for the cores.

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
COMPILE_SECONDS = 300.0  # then the compiler is taken to hang
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-ffp-contract=fast", "-Wno-psabi")
# Compiler flags for each of PyTorch's names of vector instructions; others, such as ARM's, get the compiler's default.
# The name is part of the file's, so that different machines can share a home.
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma")
VECTOR_FLAGS = {
    "AVX512_BF16": (*_AVX512, "-mavx512bf16"),
    "AVX512": _AVX512,
    "AVX2": ("-mavx2", "-mfma"),
}

_log = logging.getLogger("attnorm")
_lock = threading.Lock()


def refusal() -> str | None:
    """Why the library cannot be used, or None. The first call loads or builds it."""
    with _lock:
        return _load_once()[1]


refusal._dynamo_marked_constant = True  # type: ignore[attr-defined] # see registry.py


def library() -> ctypes.CDLL:
    """The loaded library; `refusal` must have been None."""
    found, reason = _load_once()
    assert found is not None, reason
    return found


@functools.lru_cache(maxsize=1)
def _load_once() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return _load_or_build(), None
    except (OSError, RuntimeError, ValueError) as error:  # no compiler, a full disk, no home folder: run without it
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
        raise RuntimeError(f"everybody may write to the cache {cache}, so a library in it cannot be trusted")
    if (cache / name).is_file():
        try:
            return ctypes.CDLL(str(cache / name))
        except OSError as error:
            _log.info("%s cannot be loaded and is built again: %s", cache / name, error)
    _log.info("compiling attnorm's CPU kernel, once for this machine")
    with _writable(cache) as folder:
        return ctypes.CDLL(str(_build(folder, name, runtime)))


def _key(runtime: Path) -> str:
    """A name for a build, from everything it depends on but the compiler: a machine without one may load it."""
    digest = hashlib.sha256()
    for source in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(source.name.encode() + source.read_bytes())
    digest.update(repr((FLAGS, _vector_flags(), torch.__version__, runtime.name, platform.libc_ver())).encode())
    return f"{platform.machine()}-{_capability().lower()}-{digest.hexdigest()[:16]}"


def _capability() -> str:
    name = torch.backends.cpu.get_cpu_capability().replace(" ", "_")
    processor = Path("/proc/cpuinfo")  # PyTorch has one name for both
    has_pairs = name == "AVX512" and processor.exists() and "avx512_bf16" in processor.read_text()
    return "AVX512_BF16" if has_pairs else name


def _vector_flags() -> list[tuple[str, ...]]:
    """Flags to try for this processor; compilers before GCC 10 and Clang 9 have none for bfloat16."""
    flags = VECTOR_FLAGS.get(_capability(), ())
    return [flags, _AVX512] if "-mavx512bf16" in flags else [flags]


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    """The folder, created if needed, or a temporary one if it is not writable."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_dir() and os.access(folder, os.W_OK):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="attnorm-") as temporary:  # a loaded library no longer needs its file
        yield Path(temporary)


def _openmp_runtime() -> Path:
    """The file of the OpenMP runtime that PyTorch has loaded."""
    if not torch.backends.openmp.is_available():
        raise RuntimeError("this PyTorch was built without OpenMP")
    files = [file for file in _loaded_files() if file.name.startswith(("libgomp", "libomp", "libiomp5"))]
    if not files:
        raise RuntimeError("PyTorch's OpenMP runtime was not found")
    # Other packages may have loaded their own; PyTorch's is nearest to its folder.
    torch_folder = Path(torch.__file__).parent
    return max(files, key=lambda file: len(os.path.commonpath([file, torch_folder])))


def _loaded_files() -> list[Path]:
    """The shared libraries of this process, or on systems without /proc those in PyTorch's folder."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        lines = os.fsdecode(maps.read_bytes()).split("\n")  # names can hold any bytes
        paths = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
        return [Path(path) for path in sorted(paths) if Path(path).is_file()]
    return sorted((Path(torch.__file__).parent / "lib").iterdir())


def _compilers() -> list[str]:
    wanted = [os.environ.get("CXX", ""), "g++", "c++", "clang++"]
    return list(dict.fromkeys(name for name in wanted if name.strip() and shutil.which(shlex.split(name)[0])))


def _build(folder: Path, name: str, runtime: Path) -> Path:
    """Compiles in a temporary folder and renames: other processes see a complete library or none."""
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
