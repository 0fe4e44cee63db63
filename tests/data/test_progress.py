"""The progress bar."""

import io

import pytest

from attnorm.data.progress import report, track


class Terminal(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize("is_terminal, show", [(True, True), (True, False), (False, True)])
def test_progress_is_drawn_on_a_terminal_only(monkeypatch, is_terminal, show):
    stream = Terminal(is_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert list(track(range(50), "preparing [cats]", 50, show=show)) == list(range(50))
    drawn = stream.getvalue()
    assert ("50/50" in drawn and "preparing [cats]" in drawn) == (is_terminal and show)
    assert bool(drawn) == (is_terminal and show)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_reports_draw_a_bar_for_each_thing_on_a_terminal_only(monkeypatch, is_terminal):
    stream = Terminal(is_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with report() as show:
        assert (show is not None) == is_terminal
        if show:
            show("real [all]", 4, 10)
            show("generated", 3, 20)
            show("real [all]", 10, 10)
    drawn = stream.getvalue()
    for part in ("real [all]", "10/10", "generated", "3/20"):
        assert (part in drawn) == is_terminal
