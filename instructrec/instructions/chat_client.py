"""Asks any server that speaks OpenAI's chat completions.

Every reply is kept in an SQLite file under a hash of what was asked, so that
a stopped run goes on without paying twice. The key comes from the environment
alone (`OPENAI_API_KEY`).
"""

import asyncio
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from instructrec import foreign_text
from instructrec.instructions import chat_completion, chat_server
from instructrec.instructions.budget import Account, Budget, Estimate, Tokens
from instructrec.instructions.reply_cache import ReplyCache

KEY_VARIABLE = "OPENAI_API_KEY"
ADDRESS_VARIABLE = "OPENAI_BASE_URL"
_BYTES_PER_TOKEN = 4
_FRAME = 50
"""Tokens that a server puts around the messages of a prompt, about."""
_MAX_QUOTE = 300
_TRY_AGAIN = frozenset((408, 409, 429))
"""Client errors that pass; those of the server (5xx) do as well."""


class ChatReplyError(ValueError):
  """The server gave no text, also after retries."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatConfig:
  """Which server and model write, and what it may cost.

  Attributes:
    model: name of the model on the server.
    base_url: the server, such as "http://127.0.0.1:8000/v1"; None for the one
      that the environment names (`OPENAI_BASE_URL`), else OpenAI's own. A user
      and password in it are sent to the server and shown nowhere.
    cache: SQLite file of the replies.
    budget: tokens and money that a run may use.
    concurrency: requests on the way at once.
    timeout: seconds that a request may take.
    retries: how often a failed request, or a reply that is no JSON of the
      schema, is tried again.
    backoff: seconds before the first retry; each further wait is twice as
      long. Up to half of a wait is left out, by chance, so that requests that
      failed together do not come back together.
    max_backoff: the longest wait, in seconds, also where the server asks for
      more (Retry-After).
    max_reply_tokens: longest reply, in tokens.
    temperature: of sampling.
  """

  model: str
  # It may name a user and a password.
  base_url: str | None = dataclasses.field(default=None, repr=False)
  cache: str = "teacher_cache.sqlite"
  budget: Budget = dataclasses.field(default_factory=Budget)
  concurrency: int = 16
  timeout: float = 60.0
  retries: int = 5
  backoff: float = 1.0
  max_backoff: float = 60.0
  max_reply_tokens: int = 120
  temperature: float = 0.7

  def __post_init__(self) -> None:
    """Checks the numbers and the address.

    Raises:
      ValueError: where one makes no sense.
    """
    for name, least in (
      ("concurrency", 1),
      ("max_reply_tokens", 1),
      ("retries", 0),
      ("backoff", 0),
      ("max_backoff", 0),
      ("temperature", 0),
    ):
      value = getattr(self, name)
      if not value >= least:
        raise ValueError(f"{name} is {value}, expected at least {least}")
    if not self.timeout > 0:
      raise ValueError(f"timeout is {self.timeout} s, expected more than 0")
    chat_server.Server.parse(self.base_url)

  def wait(self, tried: int, asked: float, chance: float) -> float:
    """Seconds to wait before trying again.

    Args:
      tried: how often it was tried.
      asked: seconds that the server asks for; 0 where it does not.
      chance: a draw from [0, 1).
    """
    own = self.backoff * 2 ** (tried - 1) * (1 - chance / 2)
    return min(max(own, asked), self.max_backoff)


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
  """What a model is asked.

  Attributes:
    messages: the prompt, as chat messages.
    version: of the prompt's wording.
    key: of questions that differ in nothing else, different keys are asked
      separately.
    max_reply_tokens: longest reply, in tokens.
    is_json: whether the reply is to be `{"text": "..."}`, which is checked and
      asked for again; else it is taken as it comes.
  """

  messages: list[dict[str, str]]
  version: str
  key: int
  max_reply_tokens: int
  is_json: bool = True


class ChatClient:
  """A chat server, with a cache and a budget; see the module.

  Attributes:
    config: server, model and limits.
    used: tokens that its requests took.
    on_reply: called for each text that the server wrote.

  Raises:
    ValueError: where the environment holds no key for OpenAI's own server, or
      the `openai` library is not installed.
  """

  def __init__(self, config: ChatConfig) -> None:
    try:
      import openai
    except ImportError as error:
      raise ValueError(
        "chat models need the openai library: "
        "pip install 'instructrec[teacher]'"
      ) from error
    self._openai = openai
    self.config = config
    self._key = os.environ.get(KEY_VARIABLE, "").strip()
    # The library would look there as well, and the cache not know of it.
    address = config.base_url or os.environ.get(ADDRESS_VARIABLE) or None
    self._server = chat_server.Server.parse(address)
    if not self._key and not self._server.url:
      raise ValueError(
        f"the environment variable {KEY_VARIABLE} holds no key; set it, or "
        f"name your own server with --{config.budget.options}_base_url"
      )
    self._cache = ReplyCache(config.cache, options=config.budget.options)
    self.used = Tokens()
    self.on_reply: Callable[[], None] = lambda: None

  def close(self) -> None:
    """Closes the cache."""
    self._cache.close()

  def _cache_key(self, question: Question) -> str:
    content: dict[str, Any] = {
      "base_url": (self._server.url or "").rstrip("/"),
      "model": self.config.model,
      "temperature": self.config.temperature,
      "max_reply_tokens": question.max_reply_tokens,
      "version": question.version,
      "messages": question.messages,
      "key": question.key,
    }
    if not question.is_json:
      content["is_json"] = False
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()

  def _tokens(self, question: Question, bytes_per_token: int) -> Tokens:
    """Tokens that a question takes, its reply being at its longest."""
    size = len(json.dumps(chat_completion.SCHEMA)) if question.is_json else 0
    size += sum(len(m["content"].encode()) for m in question.messages)
    prompt = -(-size // bytes_per_token) + _FRAME
    return Tokens(prompt, question.max_reply_tokens)

  def _most_tokens(self, question: Question) -> Tokens:
    # No tokenizer makes more than one token of a byte.
    return self._tokens(question, bytes_per_token=1)

  def estimate_all(self, batches: Iterable[Sequence[Question]]) -> Estimate:
    """What replies would take, before any is asked for.

    Args:
      batches: the questions, in the lists that `ask` will get.

    Returns:
      Calls and tokens.
    """
    calls = cached = 0
    tokens = Tokens()
    for questions in batches:
      wanted = {self._cache_key(question): question for question in questions}
      for key, question in wanted.items():
        if self._cache.get(key) is not None:
          cached += 1
          continue
        calls += 1
        tokens += self._tokens(question, _BYTES_PER_TOKEN)
    return Estimate(calls, cached, tokens)

  def ask(self, questions: Sequence[Question]) -> list[str]:
    """The replies, from the cache or from the server.

    Args:
      questions: several are on the way at once.

    Returns:
      A text for each; empty where the model refuses.

    Raises:
      BudgetExceededError: before a request that could exceed the budget.
      ChatReplyError: where a request failed also after retries. In both
        cases the requests on the way end first, and every reply is kept.
    """
    return asyncio.run(self._ask_missing(questions))

  async def _ask_missing(self, questions: Sequence[Question]) -> list[str]:
    keys = [self._cache_key(question) for question in questions]
    missing: dict[str, Question] = {}
    texts: dict[str, str] = {}
    for key, question in zip(keys, questions, strict=True):
      text = self._cache.get(key)
      if text is None:
        missing[key] = question
      else:
        texts[key] = text
    if missing:
      account = Account(self.config.budget, self.used)
      try:
        async with chat_server.open_client(
          self._openai, self._server, self._key
        ) as client:
          texts |= await self._ask_all(client, account, missing)
      finally:
        self.used = account.used
    return [texts[key] for key in keys]

  async def _ask_all(
    self, client: Any, account: Account, missing: Mapping[str, Question]
  ) -> dict[str, str]:
    waiting = iter(missing.items())
    texts: dict[str, str] = {}
    failures: list[Exception] = []

    async def worker() -> None:
      for key, question in waiting:
        try:
          texts[key] = await self._ask(client, account, key, question)
        except Exception as error:
          failures.append(error)
        # What is on the way elsewhere is paid for: it ends, none begins.
        if failures:
          return

    await asyncio.gather(*(worker() for _ in range(self.config.concurrency)))
    if failures:
      raise failures[0]
    return texts

  async def _ask(
    self, client: Any, account: Account, key: str, question: Question
  ) -> str:
    """Asks until there is a text, and keeps it."""
    for tried in range(1, self.config.retries + 2):
      async with account.hold(self._most_tokens(question)):
        outcome = await self._try(client, question)
        account.used += outcome.used
        if outcome.text is not None:
          self._cache.put(key, outcome.text, outcome.used)
          self.on_reply()
          return outcome.text
      if outcome.final or tried > self.config.retries:
        break
      chance = int(key[:8], 16) / 2**32
      await asyncio.sleep(self.config.wait(tried, outcome.after, chance))
    # Some servers take their key behind a question mark.
    server = self._quote(str(client.base_url).partition("?")[0])
    raise ChatReplyError(
      f"{self.config.model} at {server} gave no text; tries: {tried}, the "
      f"last: {outcome.reason}. Replies so far are kept in "
      f"{self.config.cache}: run again to go on"
    )

  async def _try(
    self, client: Any, question: Question
  ) -> chat_completion.Outcome:
    most = self._most_tokens(question)
    with chat_server.watch() as watch:
      try:
        async with asyncio.timeout(self.config.timeout):
          content = await self._send(client, question)
      except TimeoutError:
        reason = f"no reply in {self.config.timeout:g} s"
      except self._openai.APIStatusError as error:
        status = error.status_code
        return chat_completion.Outcome(
          Tokens(),
          reason=f"status {status}: {self._quote(error.response.text)}",
          after=chat_completion.retry_after(error.response.headers),
          final=status < 500 and status not in _TRY_AGAIN,
        )
      except chat_server.RefusedError as error:
        used = most if error.is_charged else Tokens()
        reason = self._quote(str(error))
        return chat_completion.Outcome(used, reason=reason, final=True)
      except self._openai.OpenAIError as error:
        cause = self._quote(str(error.__cause__ or error))
        reason = f"a broken connection: {cause}"
      else:
        return chat_completion.read(content, most, question.is_json)
    # What was sent and not answered may be charged for all the same.
    used = most if watch.was_sent else Tokens()
    return chat_completion.Outcome(used, reason=reason)

  async def _send(self, client: Any, question: Question) -> bytes:
    """The body of the reply.

    Raises:
      RefusedError: where it is not read; other errors are the library's.
    """
    form = {"response_format": chat_completion.RESPONSE_FORMAT}
    try:
      response = await client.chat.completions.with_raw_response.create(
        model=self.config.model,
        messages=question.messages,
        temperature=self.config.temperature,
        max_tokens=question.max_reply_tokens,
        **(form if question.is_json else {}),
      )
    except self._openai.OpenAIError as error:
      # Some versions of the library wrap whatever a request raises.
      if isinstance(error.__cause__, chat_server.RefusedError):
        raise error.__cause__ from error
      raise
    return response.content

  def _quote(self, said: str) -> str:
    """What a server said, fit for an error: short, on one line, no secrets."""
    for secret in filter(None, (self._key, *self._server.secrets)):
      said = said.replace(secret, "***")
    said = foreign_text.printable(" ".join(said.split()))
    return foreign_text.without_user(said)[:_MAX_QUOTE]
