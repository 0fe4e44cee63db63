"""The progress bar."""

import io

import pytest

from attnorm.data.progress import report, track


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
    with report() as show:
        assert (show is not None) == stream.isatty()
        if show:
            show("real [all]", 4, 10)
            show("generated", 3, 20)
            show("real [all]", 10, 10)
    drawn = stream.getvalue()
    assert "hidden" not in drawn and bool(drawn) == stream.isatty()
    for part in ("50/50", "preparing [cats]", "real [all]", "10/10", "generated", "3/20"):
        assert (part in drawn) == stream.isatty()
