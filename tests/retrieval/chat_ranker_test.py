"""A chat model as a ranker, over real HTTP."""

import json

import numpy as np
import pytest

from instructrec.data import request
from instructrec.instructions import budget, chat_client
from instructrec.retrieval import chat_ranker, tournament

TITLES = ["Doom", "Halo 3", "3. Halo", "The Sims", "the  sims", "2048"]


@pytest.mark.parametrize(
  ("reply", "order"),
  [
    ("3\n1\n2\n4\n5\n6", [2, 0, 1, 3, 4, 5]),
    (" 3 \n\n1.\n2) Halo 3\n", [2, 0, 1]),
    ("2: halo  3", [1]),
    ("DOOM\n6. 2048\n", [0, 5]),
    # The title of the third, not the third with another title.
    ("3. Halo", [2]),
    ("2048", [5]),
    ("", None),
    ("\n \n", None),
    ("I would rank them so:\n1\n2", None),
    ("1, 2, 3", None),
    ("1\n2\n1", None),
    ("0", None),
    ("7", None),
    ("1. Halo 3", None),
    # Two candidates have this title.
    ("The Sims", None),
    ("4. The Sims", [3]),
    ("{}", None),
  ],
)
def test_a_reply_is_read_strictly(reply, order):
  assert chat_ranker.read(TITLES, reply) == order


def requests_of(count, length=6):
  items = tuple(f"i{n}" for n in range(length))
  return [
    request.RankingRequest(f"r{n}", f"u{n}", (), items) for n in range(count)
  ]


def shown(exchange):
  """The candidates of a question by number."""
  data = json.loads(exchange.body["messages"][1]["content"])
  return {int(number): t for number, t in data["candidates"].items()}


def by_number(exchange):
  """Answers as a model that knows the right order: item 0 first."""
  titles = shown(exchange)
  order = sorted(titles, key=lambda number: int(titles[number].split()[-1]))
  exchange.say("\n".join(map(str, order)))


@pytest.fixture
def make(chat_server, tmp_path, monkeypatch):
  monkeypatch.setenv(chat_client.KEY_VARIABLE, "sk-secret")
  clients = []

  def ranker(count, seed=0, **changes):
    config = chat_client.ChatConfig(
      model="tiny",
      base_url=chat_server.url,
      cache=str(tmp_path / "cache.sqlite"),
      temperature=0.0,
      **changes,
    )
    clients.append(chat_client.ChatClient(config))
    return chat_ranker.ChatRanker(
      clients[-1],
      lambda item: f"Title {item[1:]}",
      {f"r{n}": f"What does customer {n} want?" for n in range(count)},
      seed,
    )

  yield ranker
  for client in clients:
    client.close()


def test_the_order_of_the_reply_is_the_order_of_the_scores(chat_server, make):
  chat_server.behave = by_number
  ranker = make(30)
  scores = ranker.score(requests_of(30))
  np.testing.assert_array_equal(scores, np.tile(np.arange(6.0, 0, -1), (30, 1)))
  assert (ranker.tally.replies, ranker.tally.failed) == (30, 0)
  assert ranker.name == "tiny"


def test_the_model_reads_instruction_and_shuffled_titles(chat_server, make):
  seen = []

  def behave(exchange):
    seen.append(exchange.body)
    by_number(exchange)

  chat_server.behave = behave
  make(300).score(requests_of(300))
  first = []
  for body in seen:
    assert body["temperature"] == 0
    assert "response_format" not in body
    data = json.loads(body["messages"][1]["content"])
    assert data["instruction"].startswith("What does customer")
    titles = list(data["candidates"].values())
    assert sorted(titles) == [f"Title {n}" for n in range(6)]
    first.append(titles.index("Title 0"))
  # Uniform over 0..5: 2.5, give or take five standard errors.
  assert abs(np.mean(first) - 2.5) < 5 * (35 / 12 / 300) ** 0.5
  a, b = make(1), make(1, seed=1)
  (r,) = requests_of(1)
  assert a.question(r).messages == make(1).question(r).messages
  assert a.question(r).messages != b.question(r).messages


def test_what_cannot_be_read_is_tied_and_counted(chat_server, make):
  replies = {
    "customer 0 ": lambda e: e.say("Gladly! I would choose the first."),
    "customer 1 ": lambda e: e.say(
      str(next(n for n, t in shown(e).items() if t == "Title 4"))
    ),
    "customer 2 ": lambda e: e.say(None, refusal="No."),
    "customer 3 ": by_number,
  }

  def behave(exchange):
    (reply,) = (r for name, r in replies.items() if name in exchange.content)
    reply(exchange)

  chat_server.behave = behave
  ranker = make(4)
  scores = ranker.score(requests_of(4))
  np.testing.assert_array_equal(scores[[0, 2]], 0.0)
  assert scores[1].tolist() == [0, 0, 0, 0, 6, 0]
  assert scores[3].tolist() == [6, 5, 4, 3, 2, 1]
  assert ranker.tally == chat_ranker.Tally(replies=4, failed=2, incomplete=1)
  assert "2 of 4 replies could not be read" in str(ranker.tally)
  # Replies that were paid for are kept, the unreadable ones as well.
  again = make(4)
  np.testing.assert_array_equal(again.score(requests_of(4)), scores)
  assert chat_server.asked.total() == 4


def test_a_tournament_asks_for_groups_and_their_winners(chat_server, make):
  sizes = []

  def behave(exchange):
    sizes.append(len(shown(exchange)))
    by_number(exchange)

  chat_server.behave = behave
  games = tournament.Tournament(make(2))
  scores = games.score(requests_of(2, length=100))
  assert sizes == [10] * 22
  assert games.num_lists == 22
  assert scores.argmax(1).tolist() == [0, 0]
  assert ((scores >= 0).sum(1) == 10).all()


def test_the_budget_names_its_option(chat_server, make):
  chat_server.behave = by_number
  limit = budget.Budget(max_tokens=900, options="chat")
  with pytest.raises(budget.BudgetExceededError, match="--chat_max_tokens"):
    make(9, budget=limit).score(requests_of(9))
  assert chat_server.asked.total() <= 1
