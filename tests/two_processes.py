"""A command that a launcher has started twice, as torchrun would, for processes that work together."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence


def run_two(arguments: Callable[[str], Sequence[str]], **environment: str) -> list[subprocess.CompletedProcess[str]]:
    """Runs Python with `arguments(rank)` as ranks "0" and "1" of one group, to the end of both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = [
        subprocess.Popen(
            [sys.executable, *arguments(rank)],
            env=os.environ | group | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        outputs = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(started, outputs, strict=True)
    ]
