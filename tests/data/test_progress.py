"""The progress bar."""

import io

import pytest

from attnorm.data.progress import track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_bars_are_drawn_on_a_terminal_only(stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert list(track(range(50), "preparing [cats]", 50)) == list(range(50))
    assert list(track(range(5), "hidden", 5, show=False)) == list(range(5))
    drawn = stream.getvalue()
    assert "hidden" not in drawn and bool(drawn) == stream.isatty()
    for part in ("50/50", "preparing [cats]"):
        assert (part in drawn) == stream.isatty()
