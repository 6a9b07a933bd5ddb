"""Fixtures shared by all tests; a chat server that misbehaves, and counts."""

import collections
import contextlib
import dataclasses
import fcntl
import gc
import http.server
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from instructrec.data import candidates, dataset, splits, synthetic

_ROOT = pathlib.Path(__file__).resolve().parent.parent
# What tests of several folders share; see `tests/training/conftest.py`.
sys.path.insert(0, str(_ROOT / "tests"))

# Compiling is most of the work of many tests, and they compile the same. What
# one compiled serves the others, in any process of this run, but in no other
# run. By the environment: workers and programs that tests start inherit it.
os.environ.setdefault(
  "XLA_FLAGS",
  "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
  "--xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _COMPILED = tempfile.TemporaryDirectory(prefix="instructrec-compiled-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """What takes minutes begins first, so that nobody waits for it at the end."""
  items.sort(key=lambda item: item.get_closest_marker("minutes") is None)


def pytest_collection_finish() -> None:
  """Garbage is looked for seldom, and not among what was imported."""
  gc.freeze()
  gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """The folder with the real data sets; skips where it is absent."""
  path = pathlib.Path(
    os.environ.get("INSTRUCTREC_SHARED", _ROOT.parent / "shared")
  )
  if not (path / "data").is_dir():
    pytest.skip(
      f"no real data at {path}; set INSTRUCTREC_SHARED to a folder that "
      "holds data/amazon_games and its sisters"
    )
  return path / "data"


@pytest.fixture(scope="session")
def made_once(
  tmp_path_factory,
) -> Callable[[str, Callable[[pathlib.Path], None]], pathlib.Path]:
  """Makes a folder by a name that one worker makes and all of them read."""
  base = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    base = base.parent

  def made(name: str, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    folder, done = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        make(folder)
        done.touch()
    return folder

  return made


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory) -> pathlib.Path:
  """A small folder such as `instructrec prepare` writes."""
  log, items = synthetic.generate(num_users=40, num_items=60, seed=2)
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = dataclasses.replace(split, requests=requests)
  folder = tmp_path_factory.mktemp("prepared") / "data"
  dataset.save(
    folder,
    log=log,
    items=items,
    split=split,
    record={"source": {"name": "synthetic", "version": "2"}},
  )
  return folder


@pytest.fixture(scope="session")
def published() -> Callable[[pathlib.Path, pathlib.Path], pathlib.Path]:
  """Writes a vocabulary as T5 publishes its own: sentinels are pieces."""
  from sentencepiece import sentencepiece_model_pb2

  from instructrec.models import tokenizer

  def write(source: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    proto = sentencepiece_model_pb2.ModelProto
    model = proto.FromString(source.read_bytes())
    for index in reversed(range(tokenizer.EXTRA_IDS)):
      model.pieces.add(
        piece=f"▁<extra_id_{index}>",
        score=0.0,
        type=proto.SentencePiece.USER_DEFINED,
      )
    path.write_bytes(model.SerializeToString())
    return path

  return write


WISHES = (
  "Something for a trip to the ocean would be nice.",
  "I would like a puzzle, but nothing by Oakline.",
  "",
  "Looking for anything with robots.",
)
"""What requests of `matching` say, in turn."""


@dataclasses.dataclass(frozen=True)
class Matching:
  """A tiny network that matches titles, with requests, for whoever ranks.

  Attributes:
    prepared: the items, and the log.
    run: its objectives train matches and likelihoods.
    params: parameters that listen to instructions.
    block: test requests under `WISHES`.
  """

  prepared: dataset.PreparedData
  run: Any
  params: Any
  block: Any

  def parts(self, *objectives: str) -> Any:
    """The parts of a run that has trained some scores; of this run if none."""
    from instructrec.instructions import templates
    from instructrec.serving import model_parts

    run = self.run
    if objectives:
      run = dataclasses.replace(run, model=_model(run, objectives))
    return model_parts.ModelParts(
      run, self.params, self.prepared, templates.load()
    )

  def under(self, wishes: Sequence[str]) -> Any:
    """The block, its requests under other wishes."""
    from instructrec.training import ragged

    parts = self.parts()
    prompts = [parts.prompts.tokens(wish or None) for wish in wishes]
    tokens = self.block.tokens.with_wishes(ragged.Ragged.of(prompts), wishes)
    requests = [
      dataclasses.replace(one, intention=wish or None)
      for one, wish in zip(self.block.requests, wishes, strict=True)
    ]
    return dataclasses.replace(self.block, tokens=tokens, requests=requests)


def _model(run: Any, trained: Sequence[str]) -> Any:
  """The run's network under the objectives that train these scores."""
  from instructrec.models import ranking_model
  from instructrec.models.objectives import (
    next_item,
    objective,
    token_likelihood,
  )

  known = {
    objective.MATCH: next_item.NextItem(),
    objective.LIKELIHOOD: token_likelihood.TokenLikelihood(),
  }
  return ranking_model.NetworkRankingModel(
    run.model.module,
    objective=objective.WeightedSum(
      [known[name] for name in trained], [1.0] * len(trained)
    ),
  )


@pytest.fixture(scope="session")
def matching(prepared_dir, tmp_path_factory) -> Matching:
  """Twelve test requests and an untrained network; jitted, few shapes."""
  import jax

  from instructrec.data import request
  from instructrec.models import ranking_model, tokenizer
  from instructrec.models.networks import t5, t5_config
  from instructrec.pipelines import blocks
  from instructrec.training import (
    data_config,
    item_table,
    own_checkpoints,
    ragged,
    run_dir,
    token_dataset,
    trained_run,
  )

  prepared = dataset.load(prepared_dir)
  items = prepared.catalog
  folder = tmp_path_factory.mktemp("matching")
  (folder / "vocabulary").mkdir()
  model_file = folder / run_dir.VOCABULARY
  tokenizer.train([*items.titles, *WISHES] * 3, model_file, vocab_size=400)
  vocabulary = tokenizer.Tokenizer(model_file)
  counts = prepared.split.training_log.item_counts
  item_table.save(
    folder,
    pl.DataFrame(
      {
        "item_id": items.item_ids,
        "title": items.titles,
        "count": [counts.get(item, 0) for item in items.item_ids],
      }
    ),
    histories={3: 40},
  )
  module = t5.T5(
    t5_config.T5Config(
      vocab_size=vocabulary.vocab_size,
      emb_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=16,
      num_encoder_layers=1,
      num_decoder_layers=1,
      dropout_rate=0.0,
      title_matching=True,
      num_items=len(items),
    )
  )
  data = data_config.DataConfig(
    mixture="none",
    inputs_length=96,
    targets_length=32,
    batch_size=4,
    history_length=4,
    title_length=12,
    num_drawn=2,
  )
  model = ranking_model.NetworkRankingModel(module)
  run = trained_run.Run(
    folder,
    model,
    data,
    model_file,
    folder,
    own_checkpoints.OwnCheckpoints(folder),
  )
  model = _model(run, ("match", "likelihood"))
  run = dataclasses.replace(run, model=model)
  params = jax.jit(
    lambda rng: model.get_initial_variables(rng, data.shapes(1))["params"]
  )(jax.random.key(0))
  # Else nothing is heard of instructions before training.
  query = params["title_matching"]["request_query"]
  query["kernel"] = jax.random.normal(jax.random.key(1), query["kernel"].shape)

  chosen = request.from_frame(prepared.requests.read("test")[:12])
  titles = [items.title(i) for one in chosen for i in one.candidates]
  histories = [[items.index(i) + 1 for i in one.history] for one in chosen]
  numbers = [items.index(i) + 1 for one in chosen for i in one.candidates]
  ends = np.cumsum([0, *(len(one.candidates) for one in chosen)])
  nothing = ragged.Ragged.of([[tokenizer.EOS_ID]] * len(chosen))
  tokens = token_dataset.TokenDataset(
    name="matching/test",
    inputs=nothing,
    targets=ragged.Ragged.of(vocabulary.encode_all(titles)),
    lists=ends,
    columns=pl.DataFrame(
      {
        "request_id": [one.request_id for one in chosen],
        "wish_text": [""] * len(chosen),
      }
    ),
    meta={},
    prompts=nothing,
    history=ragged.Ragged.of(histories),
    target_items=np.array(
      [items.index(one.target) + 1 for one in chosen], np.int32
    ),
    candidate_items=np.array(numbers, np.int32),
  )
  lengths = np.diff(ends)
  block = blocks.Block(
    requests=chosen,
    tokens=tokens,
    examples=np.arange(len(chosen)),
    labels=np.array([one.candidates.index(one.target) for one in chosen]),
    where=np.arange(lengths.max()) < lengths[:, None],
    retriever_scores=None,
  )
  plain = Matching(prepared, run, params, block)
  wished = plain.under([WISHES[i % len(WISHES)] for i in range(len(chosen))])
  return dataclasses.replace(plain, block=wished)


class Exchange:
  """One request and the way to answer it.

  Attributes:
    body: what was sent, parsed.
    content: the messages, as one string: what a reply is for.
    tried: how often this content was asked for, this time included.
    number: how many requests came, this one included.
    headers: of the request.
  """

  def __init__(self, handler, body, tokens, tried, number):
    self._handler, self._tokens = handler, tokens
    self.body = body
    self.content = json.dumps(body["messages"])
    self.tried = tried
    self.number = number
    self.headers = handler.headers

  def send(self, status, body, **headers):
    """Sends any bytes."""
    if not isinstance(body, bytes):
      body = json.dumps(body).encode()
    self._handler.send_response(status)
    headers = {"Content-Type": "application/json"} | {
      name.replace("_", "-"): value for name, value in headers.items()
    }
    for name, value in headers.items():
      self._handler.send_header(name, value)
    self._handler.send_header("Content-Length", str(len(body)))
    self._handler.end_headers()
    self._handler.wfile.write(body)

  def say(self, content, **message):
    """Sends a completion with this content."""
    message = {"role": "assistant", "content": content, **message}
    self.send(
      200,
      {
        "id": "1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
          "prompt_tokens": self._tokens[0],
          "completion_tokens": self._tokens[1],
        },
      },
    )

  def write(self, text=None):
    """Sends a text as it should be."""
    self.say(json.dumps({"text": text or ChatServer.text_for(self.content)}))

  def hang_up(self, sent=b""):
    """Closes the connection, in the middle of a reply or before one."""
    self._handler.wfile.write(sent)
    self._handler.wfile.flush()
    self._handler.close_connection = True


class ChatServer:
  """Counts requests, and answers them by `behave`.

  Attributes:
    behave: called with each exchange; answers it.
    tokens: what a reply says that it took, for the prompt and for itself.
    asked: how often each content was asked for.
    most_at_once: requests that were on the way at the same time.
    stopped: set when the server ends; slow answers wait for it.
  """

  def __init__(self):
    self.behave: Callable[[Exchange], None] = Exchange.write
    self.tokens = (150, 20)
    self.asked = collections.Counter()
    self.most_at_once = 0
    self.stopped = threading.Event()
    self._at_once = 0
    self._lock = threading.Lock()
    outer = self

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"
      disable_nagle_algorithm = True

      def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        outer._answer(self, body)

      def log_message(self, *unused):
        pass

    self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    self._http.daemon_threads = True
    self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

  @staticmethod
  def text_for(content: str) -> str:
    """What the server writes for a prompt; the same each time."""
    return f"Calm worlds to build in, number {zlib.crc32(content.encode())}."

  def _answer(self, handler, body):
    content = json.dumps(body["messages"])
    with self._lock:
      self.asked[content] += 1
      tried, number = self.asked[content], self.asked.total()
      self._at_once += 1
      self.most_at_once = max(self.most_at_once, self._at_once)
    # A client that gave up waiting is part of what is tested.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
      try:
        self.behave(Exchange(handler, body, self.tokens, tried, number))
      finally:
        with self._lock:
          self._at_once -= 1

  def serve(self) -> None:
    """Answers until `stop`."""
    self._http.serve_forever(poll_interval=0.02)

  def stop(self) -> None:
    """Ends `serve`, and what still waits."""
    self.stopped.set()
    self._http.shutdown()
    self._http.server_close()


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
  server = ChatServer()
  thread = threading.Thread(target=server.serve)
  thread.start()
  yield server
  server.stop()
  thread.join()
