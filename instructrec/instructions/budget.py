"""What a chat teacher may cost: tokens, money, and the account of one run."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator


class BudgetExceededError(ValueError):
  """What is wanted could cost more than the budget allows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
  """Tokens of prompts and of replies.

  Attributes:
    prompt: of prompts.
    reply: of replies.
  """

  prompt: int = 0
  reply: int = 0

  @property
  def total(self) -> int:
    """Both."""
    return self.prompt + self.reply

  def __add__(self, other: "Tokens") -> "Tokens":
    return Tokens(self.prompt + other.prompt, self.reply + other.reply)

  def __sub__(self, other: "Tokens") -> "Tokens":
    return Tokens(self.prompt - other.prompt, self.reply - other.reply)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """What some texts would take.

  Attributes:
    calls: requests that the cache does not answer.
    cached: requests that it answers.
    tokens: about how many, each reply at its longest.
  """

  calls: int
  cached: int
  tokens: Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
  """What one run may use, and what that costs.

  Attributes:
    max_tokens: of prompts and replies together; None for no limit.
    max_cost: money, in the currency of the prices; None for no limit.
    price_in: money per million tokens of prompts.
    price_out: money per million tokens of replies.
    options: what the options of the command begin with, for messages.
  """

  max_tokens: int | None = None
  max_cost: float | None = None
  price_in: float = 0.0
  price_out: float = 0.0
  options: str = "teacher"

  def __post_init__(self) -> None:
    """Checks the limits.

    Raises:
      ValueError: where one makes no sense.
    """
    for name in ("max_tokens", "max_cost", "price_in", "price_out"):
      value = getattr(self, name)
      if value is not None and not value >= 0:
        raise ValueError(f"{name} is {value}, expected at least 0")
    if self.max_cost is not None and not (self.price_in or self.price_out):
      raise ValueError(
        "max_cost limits money, but price_in and price_out are 0; give the "
        f"server's prices per million tokens (--{self.options}_price_in and "
        f"--{self.options}_price_out)"
      )

  def cost(self, tokens: Tokens) -> float:
    """Money for some tokens."""
    return (tokens.prompt * self.price_in + tokens.reply * self.price_out) / 1e6

  def describe(self, tokens: Tokens) -> str:
    """Tokens in words, with their cost where the prices are known."""
    words = f"{tokens.total:,} tokens"
    if self.price_in or self.price_out:
      words += f", {self.cost(tokens):,.4f} in money"
    return words

  def excess(self, tokens: Tokens) -> str | None:
    """Which limit some tokens exceed, and its flag; None for none."""
    if self.max_tokens is not None and tokens.total > self.max_tokens:
      return (
        f"{tokens.total:,} tokens, {self.max_tokens:,} are allowed; raise "
        f"--{self.options}_max_tokens"
      )
    if self.max_cost is not None and self.cost(tokens) > self.max_cost:
      return (
        f"{self.cost(tokens):,.4f} in money, {self.max_cost:,.4f} are "
        f"allowed; raise --{self.options}_max_cost"
      )
    return None

  def check(self, estimate: Estimate) -> None:
    """Refuses what would not end within the budget.

    Args:
      estimate: of all that is to be asked.

    Raises:
      BudgetExceededError: where the estimate exceeds the budget.
    """
    excess = self.excess(estimate.tokens)
    if excess is not None:
      raise BudgetExceededError(
        f"nothing was asked: {estimate.calls:,} calls would take about {excess}"
      )


class Account:
  """What was used and what is set aside, for requests on the way at once.

  Args:
    budget: the limits.
    used: what was used before.
  """

  def __init__(self, budget: Budget, used: Tokens) -> None:
    self.used = used
    self._budget = budget
    self._held = Tokens()
    self._freed = asyncio.Condition()

  @contextlib.asynccontextmanager
  async def hold(self, most: Tokens) -> AsyncIterator[None]:
    """Sets aside what a request can take, while it is on the way.

    Where that is not left, it waits for the others: they take less than was
    set aside for them.

    Args:
      most: what the request can take at most.

    Yields:
      Nothing; what the request took is then added to `used`.

    Raises:
      BudgetExceededError: where the budget is too small and no other request
        is on the way.
    """

    def excess() -> str | None:
      return self._budget.excess(self.used + self._held + most)

    async with self._freed:
      await self._freed.wait_for(
        lambda: excess() is None or not self._held.total
      )
      reason = excess()
      if reason is not None:
        raise BudgetExceededError(
          f"the next request could bring this run to {reason} and run again "
          "to go on"
        )
      self._held += most
    try:
      yield
    finally:
      async with self._freed:
        self._held -= most
        self._freed.notify_all()
