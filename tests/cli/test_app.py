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

needs_gradio = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the page needs the extra `app`")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_in_use_is_named(refused):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert refused("app", "--port", port) == f"port {port} of 127.0.0.1 is in use: choose another with --port"


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_must_be_one(refused, port):
    assert f"--port must be from 1 to 65535, got {port}" in refused("app", f"--port={port}")


def test_a_model_that_is_none_is_named(refused):
    assert "there is no run or model at nothing" in refused("app", "nothing", "--port", free_port())


def test_without_gradio_the_extra_is_named(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "the package 'gradio' is missing: pip install '.[app]'" in refused("app", "--port", free_port())


@needs_gradio
def test_without_names_it_serves_what_comes_with_the_package_and_stops_when_asked(tmp_path):
    command = [sys.executable, "-m", "attnorm", "app", "--port", str(free_port())]
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
