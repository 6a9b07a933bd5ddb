"""A server on a port: what it accepted it answers, also while it ends."""

import asyncio
import contextlib
import dataclasses
import signal
import socket
import threading

import httpx
import pytest

from instructrec.serving.server import app as app_lib
from instructrec.serving.server import gates, running

BODY = {"instruction": "a trip to the ocean", "k": 3}


class Held:
  """Answers when it is let, as another does."""

  def __init__(self, answers):
    self._answers = answers
    self.most_at_once = answers.most_at_once
    self.began, self.going = threading.Event(), threading.Event()

  def read(self, question):
    return self._answers.read(question)

  def answer(self, asked):
    self.began.set()
    assert self.going.wait(60)
    return self._answers.answer(asked)


@pytest.fixture
def held(run):
  return Held(run.answers)


@pytest.fixture
def started(settings, run, held):
  """A server on a free port, in a thread; ends with the test."""
  opened = dataclasses.replace(run, answers=held)
  servers = []

  def start(open_run=lambda number: opened, **changed):
    made = dataclasses.replace(settings, **changed)
    server = running.Server(app_lib.create(made, open_run, gates.Keys()), made)
    failed = []

    def work():
      try:
        asyncio.run(server.serve())
      except FileNotFoundError as error:
        failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    servers.append((server, thread))
    return server, thread, failed

  yield start
  held.going.set()
  for server, thread in servers:
    server.should_exit = True
    thread.join()


def address(server):
  while not server.started:
    threading.Event().wait(0.005)
  (port,) = {s.getsockname()[1] for s in server.servers[0].sockets}
  url = f"http://127.0.0.1:{port}"
  while httpx.get(f"{url}/readyz").status_code != 200:
    threading.Event().wait(0.005)
  return url


def test_what_was_accepted_is_answered_before_the_end(started, held):
  server, thread, _ = started(drain_seconds=0)
  url = address(server)
  found = []
  clients = [
    threading.Thread(
      target=lambda: found.append(
        httpx.post(f"{url}/v1/recommendations", json=BODY, timeout=60)
      )
    )
    for _ in range(6)
  ]
  for client in clients:
    client.start()
  held.began.wait()
  # All are there: one is being worked on, the others wait.
  metrics = server._app.state.batcher.metrics.registry.get_sample_value
  while metrics("rec_queue_size") + metrics("rec_batch_rows_sum") < 6:
    threading.Event().wait(0.005)
  server.handle_exit(signal.SIGTERM, None)
  held.going.set()
  for client in clients:
    client.join()
  thread.join()
  assert [answer.status_code for answer in found] == [200] * 6
  with pytest.raises(httpx.ConnectError):
    httpx.get(f"{url}/healthz")


def test_headers_without_an_end_are_refused(started):
  server, _, _ = started()
  url = httpx.URL(address(server))
  with socket.create_connection((url.host, url.port), timeout=60) as client:
    found = b""
    with contextlib.suppress(ConnectionError):  # It may close in the midst.
      client.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 70_000)
      found = client.recv(1000)
    assert not found or found.startswith(b"HTTP/1.1 400 ")


def test_head_is_what_get_answers_without_its_body(started):
  server, _, _ = started()
  url = address(server)
  for path in ("/healthz", "/v1/models", "/", "/page.css"):
    found, whole = httpx.head(url + path), httpx.get(url + path)
    assert (found.status_code, found.content) == (200, b""), path
    assert found.headers["Content-Length"] == str(len(whole.content)), path
  refused = httpx.head(f"{url}/rerank")
  assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")


def test_a_server_that_ends_says_so_first(started, held):
  held.going.set()
  server, thread, _ = started(drain_seconds=3600)
  url = address(server)
  server.handle_exit(signal.SIGTERM, None)
  assert httpx.get(f"{url}/readyz").status_code == 503
  assert httpx.post(f"{url}/v1/recommendations", json=BODY).status_code == 200
  # A second signal does not wait.
  server.handle_exit(signal.SIGTERM, None)
  thread.join()


def test_a_server_without_a_run_ends_with_the_reason(started):
  def open_run(number):
    raise FileNotFoundError("no run there")

  _, thread, failed = started(open_run)
  thread.join()
  (error,) = failed
  assert "no run there" in str(error)
