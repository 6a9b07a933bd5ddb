"""Which server is asked, what is read of it, what is shown of its address."""

import base64
import gzip
import logging
import re
import sqlite3

import pytest

from instructrec import limits
from instructrec.instructions import budget, chat_client, chat_server

SECRETS = ("kate", "p@ss/word")
USER = "kate:p%40ss%2Fword@"


def question(text="How are you?"):
  return chat_client.Question([{"role": "user", "content": text}], "1", 0, 20)


@pytest.fixture
def ask(chat_server, tmp_path, monkeypatch):
  """Asks the server, or another one; returns the client."""
  monkeypatch.delenv(chat_client.KEY_VARIABLE, raising=False)
  clients = []

  def make(**changes):
    settings = {
      "model": "tiny",
      "base_url": chat_server.url,
      "cache": str(tmp_path / "cache.sqlite"),
      "backoff": 0.0,
      "retries": 1,
      "timeout": 20.0,
      **changes,
    }
    clients.append(chat_client.ChatClient(chat_client.ChatConfig(**settings)))
    return clients[-1]

  yield make
  for client in clients:
    client.close()


@pytest.mark.parametrize(
  ("address", "url", "user", "password"),
  [
    (f"http://{USER}host:8000/v1", "http://host:8000/v1", *SECRETS),
    ("https://kate@host", "https://host", "kate", None),
    ("http://[::1]:80/v1", "http://[::1]:80/v1", None, None),
    ("http://u:p@[::1]/v1?a=b#c", "http://[::1]/v1?a=b", "u", "p"),
    (None, None, None, None),
  ],
)
def test_addresses_are_taken_apart(address, url, user, password):
  found = chat_server.Server.parse(address)
  assert (found.url, found.user, found.password) == (url, user, password)
  assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
  "address",
  [
    "http://kate:p/w@host/v1",
    "http://kate:pass@/v1",
    "ftp://kate:secret@host",
    "http://kate:secret@host:port",
    "http://kate:secret@[::1",
    "kate:secret@host:8000",
    "host:8000",
    "",
    "http://",
  ],
)
def test_what_is_no_address_is_refused_without_its_password(address):
  with pytest.raises(
    ValueError, match=r"such as 'http://127.0.0.1:8000/v1'"
  ) as e:
    chat_client.ChatConfig(model="m", base_url=address)
  assert not re.search("kate:|p/w|secret@|pass@", str(e.value))


@pytest.mark.parametrize("named", ["setting", "environment"])
def test_a_password_reaches_the_server_and_nothing_else(
  named, chat_server, ask, tmp_path, monkeypatch, caplog, capfd
):
  caplog.set_level(logging.DEBUG)
  address = chat_server.url.replace("http://", f"http://{USER}")
  if named == "environment":
    monkeypatch.setenv(chat_client.ADDRESS_VARIABLE, address)
    address = None
  seen = []

  def behave(exchange):
    seen.append(exchange.headers["Authorization"])
    if len(seen) > 1:
      said = f"No {SECRETS[1]} of {seen[0]} at http://{USER}host/!"
      exchange.send(403, {"error": {"message": said}})
    else:
      exchange.write()

  chat_server.behave = behave
  client = ask(base_url=address)
  client.ask([question()])
  pair = base64.b64encode(":".join(SECRETS).encode()).decode()
  assert seen == [f"Basic {pair}"]
  with pytest.raises(chat_client.ChatReplyError) as caught:
    client.ask([question("Another?")])
  error = str(caught.value)
  assert re.search(r"tiny at http://127\.0\.0\.1:\d+/v1/ gave no text", error)
  assert "status 403" in error
  said = [error, repr(client.config), caplog.text, *capfd.readouterr()]
  for secret in (SECRETS[1], "p%40ss", pair):
    assert not any(secret in text for text in said)
    for path in tmp_path.iterdir():
      assert secret.encode() not in path.read_bytes()
  # With another password it is the same server.
  assert ask().ask([question()])
  assert len(seen) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
  "there",
  ["http://example.com/v1/chat/completions", "http://localhost:{port}/"],
)
def test_a_redirect_to_another_host_is_refused(
  status, there, chat_server, ask, caplog
):
  port = chat_server.url.split(":")[2].split("/")[0]
  there = there.format(port=port).replace("//", f"//{USER}")
  chat_server.behave = lambda e: e.send(status, {}, Location=there)
  client = ask(retries=5)
  with pytest.raises(
    chat_client.ChatReplyError, match=r"tries: 1, .*redirects to another host"
  ) as caught:
    client.ask([question()])
  # Nobody else was asked, and nothing was paid for.
  assert chat_server.asked.total() == 1
  assert client.used == budget.Tokens()
  assert "kate" not in str(caught.value)


def test_a_redirect_within_the_server_is_followed(chat_server, ask):
  def behave(exchange):
    if exchange.number == 1:
      exchange.send(307, {}, Location="/v1/elsewhere")
    else:
      exchange.write()

  chat_server.behave = behave
  assert ask().ask([question()])


@pytest.mark.parametrize(
  ("there", "same"),
  [
    ("http://host/x", True),
    ("http://host:80/x", True),
    ("https://host/x", True),
    ("https://host:443/x", True),
    ("https://host:8443/x", False),
    ("http://host:8000/x", False),
    ("http://host.example/x", False),
    ("http://user@other/x", False),
  ],
)
def test_tls_is_the_only_change_of_server(there, same):
  class Url:
    def __init__(self, text):
      self.scheme, rest = text.split("://")
      host = rest.split("/")[0].split("@")[-1]
      self.host, _, port = host.partition(":")
      self.port = int(port) if port else None

  assert chat_server._is_same(Url(there), Url("http://host/v1")) is same
  assert not chat_server._is_same(Url("http://host/x"), Url("https://host/v1"))


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_large_reply_is_not_read_to_its_end(status, chat_server, ask):
  sent = []

  def behave(exchange):
    head = f"HTTP/1.1 {status} X\r\nContent-Length: 1600000000\r\n\r\n"
    exchange.hang_up(head.encode())
    part = b" " * 2**20
    for number in range(1500):
      exchange.hang_up(part)
      sent.append(number)

  chat_server.behave = behave
  client = ask()
  with pytest.raises(
    chat_client.ChatReplyError,
    match=r"a reply: found .* bytes, expected at most 10,485,760; set INSTRUC",
  ):
    client.ask([question()])
  # What lies in the buffers of both sides was sent, and not much more.
  assert len(sent) < 100
  assert client.used.total >= 20


def test_the_limit_of_a_reply_can_be_set(chat_server, ask, monkeypatch):
  monkeypatch.setenv(limits.REPLY_BYTES.variable, "100")
  with pytest.raises(chat_client.ChatReplyError, match="at most 100;"):
    ask().ask([question()])


def test_a_compressed_reply_is_refused(chat_server, ask):
  seen = []

  def behave(exchange):
    seen.append(exchange.headers["Accept-Encoding"])
    exchange.send(200, gzip.compress(b" " * 2**27), Content_Encoding="gzip")

  chat_server.behave = behave
  client = ask()
  with pytest.raises(chat_client.ChatReplyError, match="a reply in gzip"):
    client.ask([question()])
  assert seen == ["identity"]


@pytest.mark.parametrize(
  "address", ["http://127.0.0.1:9/v1", "http://no.invalid/v1"]
)
def test_no_server_takes_no_tokens(address, ask):
  client = ask(
    base_url=address, budget=budget.Budget(max_tokens=1000), retries=9
  )
  with pytest.raises(chat_client.ChatReplyError, match="tries: 10, the last: "):
    client.ask([question()])
  assert client.used == budget.Tokens()


def test_a_server_that_does_not_answer_may_charge(chat_server, ask):
  chat_server.behave = lambda exchange: chat_server.stopped.wait(60)
  client = ask(timeout=0.5, retries=0)
  with pytest.raises(chat_client.ChatReplyError, match=r"no reply in 0.5 s"):
    client.ask([question()])
  assert client.used.total > 20


def test_a_count_beyond_all_measure_keeps_the_reply(chat_server, ask, tmp_path):
  chat_server.tokens = (10**30, 10**30)
  client = ask()
  texts = client.ask([question()])
  with sqlite3.connect(tmp_path / "cache.sqlite") as db:
    kept = db.execute("SELECT text, tokens_in, tokens_out FROM hashed_replies")
    ((text, tokens_in, tokens_out),) = kept.fetchall()
  assert [text] == texts
  assert (tokens_in, tokens_out) == (client.used.prompt, client.used.reply)
  assert 20 < client.used.total < 1000


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0}])
def test_a_server_that_counts_nothing_is_held_to_the_budget(
  usage, chat_server, ask
):
  def behave(exchange):
    message = {"content": '{"text": "Fine."}'}
    exchange.send(200, {"choices": [{"message": message}], "usage": usage})

  chat_server.behave = behave
  client = ask(budget=budget.Budget(max_tokens=1000), concurrency=1)
  with pytest.raises(budget.BudgetExceededError, match="1,000 are allowed"):
    client.ask([question(f"Number {n}?") for n in range(100)])
  assert 1 < chat_server.asked.total() < 10
  assert 500 < client.used.total <= 1000
