"""A run as it is served: its stock, and one that ranks by likelihoods."""

import dataclasses

import pytest

from instructrec.instructions import templates
from instructrec.serving import opened_run
from instructrec.serving.server import served


def test_the_stock_is_a_list_of_ids(run, tmp_path):
  path = tmp_path / "stock.txt"
  path.write_text("\ni3\n i5 \nunknown\n")
  assert served._read_stock(path, run.catalog) == {"i3", "i5", "unknown"}
  path.write_text("")
  assert served._read_stock(path, run.catalog) == frozenset()
  path.write_text("unknown\n")
  with pytest.raises(ValueError, match="the catalogue none of them"):
    served._read_stock(path, run.catalog)


def test_a_run_is_called_as_its_folder_or_as_told(run, settings):
  assert run.name == "shop"
  told = dataclasses.replace(settings, model_name="games")
  assert served.Served.over(run.opened, told).name == "games"


def test_runs_beside_it_have_names_of_their_own(settings):
  told = dataclasses.replace(settings, beside=("a/toys", "films=b/shop"))
  assert [one.name for one in told.others()] == ["toys", "films"]
  assert [str(one.model_dir) for one in told.others()] == ["a/toys", "b/shop"]
  same = dataclasses.replace(settings, beside=("b/shop",))
  with pytest.raises(ValueError, match="called shop, shop; give each a name"):
    served.Served.open(same)


def test_tables_are_made_before_they_are_asked_for(run):
  fresh = dataclasses.replace(run)
  fresh.make_tables()
  assert {"_by_category", "_folded", "categories", "fingerprint"} <= set(
    vars(fresh)
  )


@pytest.fixture(scope="module")
def likely(matching, settings):
  opened = opened_run.OpenedRun(
    matching.parts("likelihood").run,
    matching.params,
    matching.prepared,
    templates.load(),
  )
  return served.Served.over(opened, settings)


def test_requests_choose_among_runs(run, likely, serve):
  both = dataclasses.replace(
    run, beside=(dataclasses.replace(likely, name="likely"),)
  )
  with serve(lambda number: both) as server:
    server.ready()
    models = server.get("/v1/models").json()["data"]
    assert [one["id"] for one in models] == ["shop", "likely"]
    body = {"query": "a kite", "documents": ["A kite", "A puzzle"]}
    scores = {}
    for name in (None, "shop", "likely"):
      found = server.post("/rerank", body | {"model": name}).json()
      assert found["model"] == (name or "shop")
      scores[name] = {
        one["index"]: one["relevance_score"] for one in found["results"]
      }
    assert scores[None] == pytest.approx(scores["shop"])
    assert scores["likely"] != pytest.approx(scores["shop"])
    asked = {"instruction": "a kite", "k": 1, "model": "likely"}
    (place,) = server.post("/v1/recommendations", asked).json()["results"]
    assert set(place["parts"]) == {"likelihood"}
    refused = server.post("/rerank", body | {"model": "none"})
    assert refused.status_code == 404
    assert "has 'shop', 'likely'" in refused.json()["message"]


def test_a_run_of_likelihoods_answers_too(likely, serve):
  """Documents, and the whole catalogue within filters."""
  with serve(lambda number: likely) as server:
    server.ready()
    assert server.get("/info").json()["scores"] == "likelihoods"
    body = {"query": "a kite", "documents": ["A kite", "A kite " * 40]}
    found = server.post("/rerank", body).json()
    assert {one["index"] for one in found["results"]} == {0, 1}
    assert "documents.1 is longer" in found["meta"]["warnings"][0]
    body = {
      "instruction": "a kite",
      "k": 2,
      "filters": {"exclude": likely.catalog.item_ids[:-3]},
    }
    answer = server.post("/v1/recommendations", body).json()
    assert {r["id"] for r in answer["results"]} <= set(
      likely.catalog.item_ids[-3:]
    )
    assert answer["meta"]["num_candidates"] == 3
    assert answer["meta"]["instruction"] == "a kite."
    tokens = server.app.state.batcher.metrics.batch_tokens
    assert tokens._sum.get() < 10_000
    said = {"messages": [{"role": "user", "content": "Start over."}]}
    assert server.post("/v1/chat/completions", said).status_code == 400


def test_long_words_are_cut_by_any_run(likely, run, serve):
  """Two fields, or a message, may be longer than one wish."""
  both = dataclasses.replace(
    run, beside=(dataclasses.replace(likely, name="likely"),)
  )
  rerank = {"query": "b " * 900, "instruction": "a " * 900, "documents": ["x"]}
  chat = {"messages": [{"role": "user", "content": "some thing " * 300}]}
  with serve(lambda number: both) as server:
    server.ready()
    for name in ("shop", "likely"):
      for path, body in (("/rerank", rerank), ("/v1/chat/completions", chat)):
        found = server.post(path, body | {"model": name})
        assert found.status_code == 200, found.text
        found = found.json()
        told = found.get("recommendation", found)["meta"]["warnings"]
        assert any("wish is cut" in one for one in told), (name, path, told)
