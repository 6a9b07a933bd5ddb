"""Reports whose pictures nobody looks at."""

import pytest

from instructrec.evaluation import plots


@pytest.fixture
def no_pictures(monkeypatch):
  """Drawing takes most of the time of a small report."""

  def draw(unused_result, path):
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return True

  for name in ("metric_intervals", "strata_lines"):
    monkeypatch.setattr(plots, name, draw)
