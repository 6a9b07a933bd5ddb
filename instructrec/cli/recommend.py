"""`instructrec recommend`: the best of a catalogue, filtered and explained."""

import json
from typing import TYPE_CHECKING

import typer

from instructrec.cli import options, processes, rank
from instructrec.settings import ranking

if TYPE_CHECKING:
  from instructrec.serving import run_ranker


@options.from_settings
def recommend(
  settings: ranking.RecommendationSettings, joined: processes.Processes
) -> None:
  """Recommend the best of the catalogue for a history and a wish.

  It ranks as [b]rank[/b] does, which prints rankings of candidates and asks on
  a terminal; here items can be filtered, and each can say why. With
  [b]--input[/b] and [b]--output[/b], for as many requests as there are, by all
  processes; where that is stopped, the same command goes on.
  """
  joined.join()
  from instructrec.training import distributed

  distributed.check_devices(joined.device_count)
  if settings.input is not None:
    _answer_all(settings)
    return
  ranker = rank.open_ranker(settings, silent=settings.json)
  _answer(ranker, settings)


def _answer_all(settings: ranking.RecommendationSettings) -> None:
  from instructrec.serving import batch
  from instructrec.training import distributed

  lead = distributed.is_lead()
  ranker = rank.open_ranker(settings, silent=not lead)
  found = batch.recommend(ranker, settings, tell=typer.echo)
  if lead:
    typer.echo(f"wrote {settings.output}: {found.requests:,} requests")
    if found.wrong:
      typer.echo(
        f"{found.wrong:,} of them have no answer and say why; the first: "
        f"{settings.input}, {found.first}"
      )


def _answer(
  ranker: "run_ranker.Ranker", settings: ranking.RecommendationSettings
) -> None:
  from instructrec.serving import request_lines

  asked = request_lines.Request(
    history=settings.history,
    wish=settings.wish,
    only=settings.only,
    exclude=settings.exclude,
    **settings.bounds,
  )
  request = asked.of(ranker, k=settings.k, on_unknown=settings.on_unknown)
  (found,) = ranker.rank_all([request])
  explained = ranker.explain(request, found) if settings.reasons else None
  if settings.json:
    # Escapes alone: what shows a terminal's text must leave it as it is.
    typer.echo(json.dumps(request_lines.answer(found, explained)))
    return
  prices = None
  if any(one.bounds_price for one in request.asked):
    # Items without a price are left out by such filters.
    shelf = ranker.shelf
    prices = {
      place.item_id: float(shelf.prices[shelf.catalog.index(place.item_id)])
      for place in found
    }
  rank.print_ranking(found, explained, prices)
