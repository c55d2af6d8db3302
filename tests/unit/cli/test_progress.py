import io
import sys

from rackmoe.cli.progress import RowTally, RunBars, RunLines, run_listener


class Terminal(io.StringIO):
    """An output that a person reads."""

    def isatty(self):
        return True


def test_lines_say_start_and_end_and_nothing_between(capsys):
    with RunLines() as lines:
        lines.begin("a")
        lines.advance("a", done_frac=0.5, text="half")
        lines.finish("a", text="all done")
    captured = capsys.readouterr()
    assert captured.out == ""
    first, last = captured.err.splitlines()
    assert first == "a: started"
    assert last.startswith("a: all done, ")
    assert "half" not in captured.err


def test_bars_are_drawn_on_a_terminal_and_leave_a_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with run_listener() as bars:
        assert isinstance(bars, RunBars)
        bars.begin("a")
        bars.advance("a", done_frac=None, text="unknown")
        bars.advance("a", done_frac=0.5, text="half")
        bars.finish("a", text="all done")
    assert "a: all done, " in terminal.getvalue()


def test_lines_are_written_where_nobody_watches():
    assert isinstance(run_listener(), RunLines)


def test_rows_are_told_at_each_tenth_where_nobody_watches(capsys):
    with RowTally("rows") as tally:
        for n_done in range(1, 41):
            tally(n_done, 40)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("4 of 40 rows, ")


def test_rows_are_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with RowTally("rows") as tally:
        tally(3, 40)
        tally(40, 40)
    assert "40/40" in terminal.getvalue()
