"""Routes that say what there is: models, limits, items."""

from typing import Annotated, Literal

import fastapi
import pydantic
from fastapi import responses

import instructrec
from instructrec import limits
from instructrec.serving.server import (
  lifecycle,
  recommendation_schema,
  recommending,
)

_LIMITS = (
  limits.BODY_BYTES,
  limits.DOCUMENTS,
  limits.DOCUMENT_CHARS,
  limits.WISH_CHARS,
  limits.HISTORY,
  limits.PLACES,
)
_MOST_CATEGORIES = 200


class Model(pydantic.BaseModel):
  """A model, as OpenAI has it."""

  id: str
  object: Literal["model"] = "model"
  created: int = 0
  owned_by: Literal["instructrec"] = "instructrec"


class Models(pydantic.BaseModel):
  """The models; the first is the usual one."""

  object: Literal["list"] = "list"
  data: list[Model]


class CatalogInfo(pydantic.BaseModel):
  """What is known of the catalogue.

  Attributes:
    items: how many there are.
    fingerprint: of all of it.
    categories: the commonest ones.
    has_prices: whether the price of an item is known.
    has_stock: whether it is known what is in stock.
  """

  items: int
  fingerprint: str
  categories: list[str]
  has_prices: bool
  has_stock: bool


class Info(pydantic.BaseModel):
  """What is served.

  Attributes:
    model: its name.
    checkpoint: that was opened.
    version: of the package.
    generation: counts the openings of the run.
    scores: what they are.
    scale: how they come to 0..1.
    catalog: what is ranked.
    limits: of a request.
  """

  model: str
  checkpoint: str
  version: str = instructrec.__version__
  generation: int
  scores: Literal["matches", "likelihoods"]
  scale: str
  catalog: CatalogInfo
  limits: dict[str, int]


def add(app: fastapi.FastAPI, life: lifecycle.Lifecycle) -> None:
  """Adds the routes.

  Args:
    app: the server.
    life: which run is served.
  """

  @app.get("/v1/models")
  @app.get("/models", include_in_schema=False)
  async def models() -> Models:
    """The models, as OpenAI lists them; the first is the usual one."""
    run = life.current
    return Models(data=[Model(id=one.name) for one in (run, *run.beside)])

  @app.get("/info")
  async def info() -> Info:
    """What is served, its versions and limits."""
    run = life.current
    return Info(
      model=run.name,
      checkpoint=run.opened.checkpoint,
      generation=run.generation,
      scores="matches" if run.opened.ranks_catalogs else "likelihoods",
      scale=run.answers.scale,
      catalog=CatalogInfo(
        items=len(run.catalog),
        fingerprint=run.fingerprint,
        categories=list(run.categories[:_MOST_CATEGORIES]),
        has_prices=run.ranker.shelf.has_prices,
        has_stock=run.stock is not None,
      ),
      limits={limit.name.lower(): limit.value for limit in _LIMITS},
    )

  @app.get("/v1/items", response_model=recommendation_schema.Items)
  def items(
    query: Annotated[str, fastapi.Query(max_length=limits.ID_CHARS.value)] = "",
    limit: Annotated[int, fastapi.Query(ge=1, le=1000)] = 20,
    offset: Annotated[int, fastapi.Query(ge=0, le=2**31)] = 0,
  ) -> responses.Response:
    """The items whose titles have all words of the query."""
    run = life.current
    places = run.search(query)
    data = [
      recommending.item(run, place) for place in places[offset : offset + limit]
    ]
    return responses.JSONResponse(
      {"object": "list", "data": data, "total": len(places)}
    )
