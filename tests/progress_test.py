"""What a log shows of long work."""

import io
import sys
import time

from instructrec import progress


def test_a_log_has_lines_of_words_and_none_of_what_is_soon_done(monkeypatch):
  written = io.StringIO()
  monkeypatch.setattr(sys, "stderr", written)
  with progress.Progress(3, "short") as line:
    line.advance(3)
  assert written.getvalue() == ""
  monkeypatch.setattr(progress, "_LOG_SECONDS", 0.01)
  starts = ((2, "long: 50%, 1 of 2 rows in "), (None, "long: 1 rows in "))
  for total, start in starts:
    written.truncate(0)
    written.seek(0)
    with progress.Progress(total, "long") as line:
      time.sleep(0.02)
      line.note("loss 3")
      line.advance()
      time.sleep(0.02)
      line.advance()
    first, *_, last = written.getvalue().splitlines()
    assert first.startswith(start)
    assert last.endswith("loss 3")
    assert "\r" not in written.getvalue()
    assert "|" not in written.getvalue()


def test_a_clock_has_no_rate(monkeypatch):
  written = io.StringIO()
  monkeypatch.setattr(sys, "stderr", written)
  monkeypatch.setattr(progress, "_LOG_SECONDS", 0.01)
  with progress.Progress(None, "train a vocabulary", unit="s") as line:
    time.sleep(0.02)
    line.advance(1200)
  assert set(written.getvalue().splitlines()) == {"train a vocabulary: 1,200 s"}
