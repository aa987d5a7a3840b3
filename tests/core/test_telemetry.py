"""Progress speaks on stderr only when asked, and counts reach their listeners."""

import pytest

from diptych.core import telemetry


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setattr(telemetry, "LINE_EVERY_S", 0.0)
    telemetry.show_progress(True)
    yield
    telemetry.show_progress(False)


def test_a_library_is_silent(capsys):
    with telemetry.progress("work", 3) as bar:
        bar.advance()
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_lines_with_rate_and_time_left(shown, capsys):
    with telemetry.progress("work", 4, "steps", done=1) as bar:
        bar.note(loss=0.5)
        bar.advance(2)
        assert bar.done == 2
    said = capsys.readouterr()
    assert said.out == ""
    first, last = said.err.splitlines()
    assert first.startswith("work: 3 of 4 steps, ") and "s left" in first and "loss 0.5" in first
    assert last.startswith("work: 3 of 4 steps, ") and "left" not in last


def test_a_terminal_gets_a_bar(shown, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with telemetry.progress("work", 2, "steps") as bar:
        bar.advance(2)
    assert "work" in capsys.readouterr().err


def test_listeners_hear_counts_until_they_stop():
    heard = []
    stop = telemetry.listen(lambda name, value, labels: heard.append((name, value, labels)))
    telemetry.count("skipped", reason="empty")
    telemetry.observe("search_ms", 2.5)
    stop()
    telemetry.count("skipped")
    assert heard == [("skipped", 1.0, {"reason": "empty"}), ("search_ms", 2.5, {})]


def test_phases_add_up():
    phases = telemetry.Phases()
    for _ in range(2):
        with phases("decode"):
            pass
    assert set(phases.seconds) == {"decode"} and phases.seconds["decode"] >= 0
