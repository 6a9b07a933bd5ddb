"""The option of commands that write a report: its metrics."""

from typing import Annotated

from instructrec.settings.option import Option

HELP = (
  "Metrics with cut-offs of your choice, such as HR@20,Recall@50,MAP@10: HR, "
  "NDCG, MRR, Recall, MAP or Precision. HR@1 and NDCG@10 always stand in the "
  "report. The usual ones if left out."
)
Metrics = Annotated[tuple[str, ...], Option(HELP)]
