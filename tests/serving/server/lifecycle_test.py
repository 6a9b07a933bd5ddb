"""Before the server is ready, while it opens a run anew, and when it ends."""

import asyncio
import dataclasses
import threading

import pytest

from instructrec.retrieval import run_weights
from instructrec.serving import catalog_ranker, matched_answers
from instructrec.serving.server import gates

BODY = {"query": "a kite", "documents": ["A kite", "A puzzle"]}
WISH = {"instruction": "a trip to the ocean", "k": 3}
ADMIN = {"Authorization": "Bearer three"}
KEYS = gates.Keys.of({gates.ADMIN_KEY: "three"})


def weighted(run, **untuned):
  """The run under other weights."""
  ranker = catalog_ranker.CatalogRanker(
    run.opened.parts, run_weights.RunWeights({}, untuned)
  )
  return dataclasses.replace(
    run, answers=matched_answers.MatchedAnswers(ranker, 4)
  )


def placed(found):
  """The scores of an answer by item, in their order."""
  assert found.status_code == 200, found.text
  results = found.json()["results"]
  return {r["id"]: pytest.approx(r["score"], abs=1e-5) for r in results}


def test_nothing_is_answered_before_the_run_is_open(serve, run):
  opening = threading.Event()

  def open_run(number):
    opening.wait()
    return run

  with serve(open_run) as server:
    assert server.get("/healthz").status_code == 200
    for found in (server.get("/readyz"), server.post("/rerank", BODY)):
      assert found.status_code == 503
      assert found.headers["Retry-After"] == "5"
    opening.set()
    server.ready()
    assert server.post("/rerank", BODY).status_code == 200


def test_a_run_that_cannot_be_opened_is_told(serve):
  def open_run(number):
    raise FileNotFoundError("no run there")

  with serve(open_run) as server:

    async def wait():
      while server.app.state.lifecycle.failed is None:
        await asyncio.sleep(0.002)

    server.run(wait())
    assert server.get("/readyz").status_code == 503
    assert "no run there" in str(server.app.state.lifecycle.failed)


def test_a_reload_changes_what_answers_and_loses_nothing(serve, run):
  """Requests keep coming while the next run is opened."""
  opening, may_open = threading.Event(), threading.Event()

  def open_run(number):
    if number > 1:
      opening.set()
      may_open.wait()
    found = run if number == 1 else weighted(run, popularity=1.0)
    return dataclasses.replace(found, generation=number)

  with serve(open_run, KEYS) as server:
    server.ready()
    before = placed(server.post("/v1/recommendations", WISH))

    async def both():
      post = server.client.post
      reload = asyncio.create_task(post("/v1/reload", headers=ADMIN))
      await asyncio.to_thread(opening.wait)
      during = await asyncio.gather(
        *(post("/v1/recommendations", json=WISH) for _ in range(5))
      )
      may_open.set()
      return await reload, during

    reload, during = server.run(both())
    assert reload.json() == {"status": "ready", "generation": 2}
    assert all(placed(found) == before for found in during)
    after = server.post("/v1/recommendations", WISH).json()["results"]
    assert all(set(one["parts"]) == {"popularity"} for one in after)
    assert server.get("/info").json()["generation"] == 2


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError])
def test_a_reload_that_fails_leaves_the_old_run(serve, run, kind):
  def open_run(number):
    if number > 1:
      raise kind("step 9 is damaged")
    return run

  with serve(open_run, KEYS) as server:
    server.ready()
    found = server.post("/v1/reload", headers=ADMIN)
    assert found.status_code == 500
    assert found.json()["error"]["code"] == "reload_failed"
    assert found.json()["message"].startswith("the old run stays: ")
    assert "step 9 is damaged" in found.json()["message"]
    assert server.get("/readyz").json()["generation"] == 1
    assert server.post("/rerank", BODY).status_code == 200
    value = server.app.state.batcher.metrics.registry.get_sample_value
    assert value("rec_reload_total", {"outcome": "failed"}) == 1
    assert value("rec_reload_total", {"outcome": "done"}) == 1


def test_what_ends_still_answers_but_is_not_ready(serve):
  with serve() as server:
    server.ready()
    assert "Connection" not in server.post("/rerank", BODY).headers
    server.app.state.lifecycle.drain()
    assert server.get("/readyz").status_code == 503
    found = server.post("/rerank", BODY)
    assert found.status_code == 200
    # A client that kept it would be cut off in the middle of its next request.
    assert found.headers["Connection"] == "close"


def test_scores_that_are_no_numbers_are_a_fault(serve, run, caplog):
  traced = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
  broken = weighted(run, match=float("nan"))
  with serve(lambda number: broken) as server:
    server.ready()
    for path, body in (("/rerank", BODY), ("/v1/recommendations", WISH)):
      found = server.post(path, body, headers=traced)
      assert found.status_code == 500
      number = found.json()["id"]
      assert number in found.json()["message"]
      assert f"{number} trace {'ab' * 16} {path}: " in caplog.text
      assert "nan" not in found.text.lower()


def test_requests_together_have_the_answers_of_each(server, run):
  titles = run.catalog.titles
  bodies = [
    {"query": f"a {word}", "documents": titles[place : place + 5]}
    for place, word in enumerate(["kite", "puzzle", "robot", "trip", "x"] * 4)
  ]
  alone = [server.post("/rerank", body).json() for body in bodies]

  async def together():
    post = server.client.post
    return await asyncio.gather(*(post("/rerank", json=b) for b in bodies))

  found = [answer.json() for answer in server.run(together())]
  for one, other in zip(found, alone, strict=True):
    assert [r["index"] for r in one["results"]] == [
      r["index"] for r in other["results"]
    ]
    for mine, its in zip(one["results"], other["results"], strict=True):
      assert mine["relevance_score"] == pytest.approx(
        its["relevance_score"], abs=1e-5
      )
  rows = server.app.state.batcher.metrics.registry.get_sample_value
  assert rows("rec_batch_rows_bucket", {"le": "1.0"}) < rows(
    "rec_batch_rows_count"
  )


class Stuck:
  """Answers nothing before it is let, or does not even read."""

  most_at_once = 1

  def __init__(self, answers, reads):
    self._answers, self._reads = answers, reads
    self.going = threading.Event()

  def read(self, question):
    assert self._reads or self.going.wait(60)
    return self._answers.read(question)

  def answer(self, asked):
    assert self.going.wait(60)
    return self._answers.answer(asked)


@pytest.mark.parametrize("reads", [True, False])
def test_whoever_waits_too_long_is_told(serve, run, reads):
  """For a step, or until it is read what is asked."""
  stuck = Stuck(run.answers, reads)
  opened = dataclasses.replace(run, answers=stuck)
  with serve(lambda number: opened, deadline_seconds=1) as server:
    server.ready()
    found = server.post("/rerank", BODY)
    assert found.status_code == 504
    assert "deadline" in found.json()["message"]
    value = server.app.state.batcher.metrics.registry.get_sample_value
    assert value("rec_rejected_total", {"reason": "deadline"}) == 1
    stuck.going.set()


def test_clients_that_go_leave_no_threads(serve, run):
  stuck = Stuck(run.answers, reads=False)
  opened = dataclasses.replace(run, answers=stuck)
  with serve(lambda number: opened) as server:
    server.ready()

    async def come_and_go():
      for _ in range(50):
        task = asyncio.create_task(server.client.post("/rerank", json=BODY))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    before = threading.active_count()
    server.run(come_and_go())
    assert threading.active_count() - before < 10
    stuck.going.set()
    assert server.post("/rerank", BODY).status_code == 200


def test_a_client_that_goes_is_not_waited_for(server):
  """Its question leaves the queue; the others have their answers."""

  async def work():
    post = server.client.post
    gone = asyncio.create_task(post("/rerank", json=BODY))
    stays = asyncio.create_task(post("/rerank", json=BODY))
    await asyncio.sleep(0)
    gone.cancel()
    return await stays

  assert server.run(work()).status_code == 200


def test_what_was_done_is_counted(server):
  server.post("/rerank", BODY)
  server.get("/nowhere/else")
  text = server.get("/metrics").text
  assert 'rec_request_total{route="/rerank",status="200"}' in text
  assert 'rec_request_total{route="other",status="404"}' in text
  assert "nowhere" not in text
  for name in (
    "rec_request_duration_seconds",
    "rec_queue_duration_seconds",
    "rec_tokenize_duration_seconds",
    "rec_inference_duration_seconds",
    "rec_batch_tokens",
    "rec_batch_rows",
    "rec_queue_size",
    "rec_truncated_documents_total",
    "rec_catalog_version",
    "process_resident_memory_bytes",
  ):
    assert name in text
  assert "rec_catalog_version 1.0" in text
