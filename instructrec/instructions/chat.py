"""The chat teacher: a chat model puts preferences and intentions into words.

Replies are JSON by schema and are checked; reviews are untrusted text and
travel as data, never as orders.
"""

from collections.abc import Iterable, Sequence

from instructrec.instructions.budget import Estimate
from instructrec.instructions.chat_client import (
  ADDRESS_VARIABLE,
  KEY_VARIABLE,
  ChatClient,
  ChatConfig,
  ChatReplyError,
  Question,
)
from instructrec.instructions.chat_prompt import PROMPT_VERSION, messages
from instructrec.instructions.teacher import TextRequest

__all__ = [
  "ADDRESS_VARIABLE",
  "KEY_VARIABLE",
  "ChatConfig",
  "ChatReplyError",
  "ChatTeacher",
]


class ChatTeacher(ChatClient):
  """Writes through a chat server; see `ChatClient`."""

  name = "chat"

  def __init__(self, config: ChatConfig) -> None:
    super().__init__(config)
    self.version = f"{config.model}/{PROMPT_VERSION}"

  def _question(self, request: TextRequest) -> Question:
    return Question(
      messages(request),
      PROMPT_VERSION,
      # The wordings of one user's texts are to differ from another's.
      request.key,
      self.config.max_reply_tokens,
    )

  def estimate(self, batches: Iterable[Sequence[TextRequest]]) -> Estimate:
    """What texts would take, before any is asked for.

    Args:
      batches: the texts, in the lists that `write` will get.

    Returns:
      Calls and tokens.
    """
    return self.estimate_all(
      [self._question(request) for request in requests] for requests in batches
    )

  def write(self, requests: Sequence[TextRequest]) -> list[str]:
    """See `Teacher.write`.

    A reply in which the model refuses gives an empty text.

    Raises:
      BudgetExceededError: see `ChatClient.ask`.
      ChatReplyError: see `ChatClient.ask`.
    """
    return self.ask([self._question(request) for request in requests])
