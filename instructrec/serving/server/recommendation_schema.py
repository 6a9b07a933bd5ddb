"""Requests and answers of `/v1/recommendations` and `/v1/items`."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from instructrec import limits
from instructrec.serving.server.rerank_schema import (
  History,
  Name,
  Strict,
  Understood,
  Wish,
)

K = Annotated[int, Field(ge=1, le=limits.PLACES.value)]
_Category = Annotated[list[Name], Field(max_length=100)]


class Filters(Strict):
  """Which items may be recommended.

  Attributes:
    category: a category, or several of which an item must have one.
    price_max: in the catalogue's currency.
    in_stock: whether only what is in stock.
    exclude: titles or ids that are left out.
  """

  # Whoever misspells a filter must not be shown what it was to keep away.
  model_config = pydantic.ConfigDict(strict=True, extra="forbid")

  category: Name | _Category | None = None
  price_max: (
    Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)] | None
  ) = None
  in_stock: bool | None = None
  exclude: History = Field(default_factory=list)


class RecommendationsRequest(Strict):
  """For whom, and what.

  Attributes:
    history: titles or ids of what was taken, oldest first.
    instruction: what is wanted, in words.
    k: how many.
    filters: what may be recommended.
    reasons: whether each place says why.
    model: the name of the model; null for the one that is served.
  """

  model_config = pydantic.ConfigDict(
    json_schema_extra={
      "examples": [
        {
          "instruction": "Something with dinosaurs, under 30 dollars.",
          "k": 3,
          "reasons": True,
        }
      ]
    }
  )

  history: History = Field(default_factory=list)
  instruction: Wish | None = None
  k: K = 10
  filters: Filters = Filters()
  reasons: bool = False
  model: Name | None = None


class Place(pydantic.BaseModel):
  """One place of the answer."""

  id: str
  title: str
  score: float
  attributes: dict[str, Any]
  parts: dict[str, float]
  reasons: dict[str, Any] | None = None


class Meta(pydantic.BaseModel):
  """What the answer is of."""

  warnings: list[str]
  history: list[str]
  instruction: str | None
  num_candidates: int
  milliseconds: float


class Recommendations(pydantic.BaseModel):
  """The answer; `reasons` are there only if asked for."""

  id: str
  object: Literal["recommendations"] = "recommendations"
  model: str
  results: list[Place]
  understood: Understood | None
  meta: Meta


class Item(pydantic.BaseModel):
  """An item of the catalogue."""

  id: str
  title: str
  attributes: dict[str, Any]


class Items(pydantic.BaseModel):
  """What a search found."""

  object: Literal["list"] = "list"
  data: list[Item]
  total: int
