"""Tables of further sections with a reference, such as parts of a score."""

import numpy as np
import pytest

from instructrec.evaluation import evaluate, published_report, report
from instructrec.evaluation.published import (
  Figure,
  Gap,
  Published,
  PublishedError,
  Row,
  Table,
)

pytestmark = pytest.mark.usefixtures("no_pictures")
METRICS = ["HR@1", "nats"]
GAPS = dict.fromkeys(METRICS, Gap(-0.1, -0.2, -0.05))
PARTS = Table(
  name="sequential: what each part of the score adds",
  metrics=METRICS,
  rows=[
    Row(
      name=name,
      metrics=dict.fromkeys(METRICS, Figure(0.5, 0.25, 0.75)),
      differences={} if name == "all" else GAPS,
    )
    for name in ("all", "without match", "match alone")
  ],
  num_requests=4,
  reference="all",
  compared=METRICS,
)


@pytest.fixture
def publish(tmp_path):
  context = report.Context(
    "A report", ["c"], {}, {}, {}, {}, "", [], [], figures=[PARTS]
  )
  ranked = evaluate.from_scores(
    "sequential",
    {"model": np.eye(4)},
    np.arange(4),
    request_ids=list("abcd"),
    num_resamples=10,
  )
  report.write(tmp_path / "report", [ranked], context)

  def call(**options):
    found = published_report.from_folder(
      tmp_path / "report", "parts", groups=[PARTS.name], **options
    )
    found.save(tmp_path / "parts.json")
    (table,) = Published.load(tmp_path / "parts.json").tables
    return table

  return call


def test_some_metrics_take_their_differences_along(publish):
  found = publish(metrics=["HR@1"])
  assert (found.metrics, found.compared) == (["HR@1"], ["HR@1"])
  assert set(found.row("match alone").differences) == {"HR@1"}
  assert publish(compared=["nats"]).compared == ["nats"]


def test_the_reference_may_have_another_name_on_the_page(publish):
  found = publish(rows={"everything": "all", "no match": "without match"})
  assert found.reference == "everything"
  assert found.row("no match").differences == GAPS


def test_differences_go_where_their_reference_is_left_out(publish):
  found = publish(rows={"no match": "without match"})
  assert (found.reference, found.compared) == (None, [])
  assert not found.row("no match").differences


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"reference": "match alone"}, "no differences to 'match alone'"),
    ({"metrics": ["HR@5"]}, r"lacks the metrics \['HR@5'\]; it has \['HR@1'"),
  ],
)
def test_what_such_a_table_lacks_is_named(publish, options, message):
  with pytest.raises(PublishedError, match=message):
    publish(**options)
