"""`attnorm app`: what it refuses before it serves anything."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import attnorm
from attnorm.shipped import shipped_models


def test_a_port_that_cannot_be_used_is_named(refused):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        problem = f"cannot serve at port {port} of 127.0.0.1 (Address already in use)"
        assert refused("app", "--port", port) == f"{problem}: choose another with --port or --host"
    assert "--port must be from 1 to 65535, got 0" in refused("app", "--port", 0)


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the page needs the extra `app`")
def test_without_names_it_serves_what_comes_with_the_package_and_stops_when_asked(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free_port = probe.getsockname()[1]
    command = [sys.executable, "-m", "attnorm", "app", "--port", str(free_port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(attnorm.__file__).parents[1])}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as page:
        try:
            line = page.stdout.readline()
            [address] = re.findall(r"http://127\.0\.0\.1:\d+/", line)
            with urllib.request.urlopen(address) as answer:
                assert b"attnorm: Attentive Normalization" in answer.read()
            page.send_signal(signal.SIGTERM)
            _, err = page.communicate(timeout=30)
        finally:
            page.kill()
    assert page.returncode == 128 + signal.SIGTERM
    assert f"with {len(shipped_models())} models; Ctrl-C stops it" in line
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []  # visitors' files are gone
