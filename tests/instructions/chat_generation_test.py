"""Instructions by the chat teacher: fallback, estimate, and going on."""

import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from command_line import call

import instructrec
from instructrec.data import dataset
from instructrec.instructions import (
  budget,
  chat,
  chat_prompt,
  generate,
  offline,
  quality,
  templates,
)
from instructrec.instructions.format import FineGrained
from instructrec.instructions.teacher import TextKind


@pytest.fixture(scope="module")
def prepared_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("chat") / "prepared"
  call(
    "prepare",
    "--source=synthetic",
    f"--output={folder}",
    "--num_users=5",
    "--num_items=30",
    "--min_interactions=1",
  )
  return folder


@pytest.fixture
def make_generator(prepared_dir, chat_server, tmp_path):
  prepared = dataset.scan(prepared_dir)
  by_rule = offline.OfflineTeacher(prepared.catalog)

  def make(teacher=None):
    if teacher is None:
      teacher = chat.ChatTeacher(
        chat.ChatConfig(
          model="tiny",
          base_url=chat_server.url,
          cache=str(tmp_path / "cache.sqlite"),
        )
      )
    return generate.Generator(
      prepared, teacher, templates.load(), fallback=by_rule
    )

  return make


def _misbehaving_text(content):
  """Now and then a link, a control character, or an item's name."""
  system, user = json.loads(content)
  number = len(content)
  if number % 7 == 0:
    return "A player of calm games, see https://example.com for more."
  if number % 7 == 1:
    return "A player \x00 of calm games."
  # The last words of this task say so; the model does not listen.
  if system["content"].endswith("Never say its name."):
    return f"I want {json.loads(user['content'])['items'][-1]['title']}"
  return f"A player of calm games, {number} of them."


class Listening:
  """What the server writes where that can be used, else the offline text."""

  name, version = "listening", "1"

  def __init__(self, by_rule):
    self._by_rule = by_rule
    self.problems = collections.Counter()

  def write(self, requests):
    return [self._one(request) for request in requests]

  def _one(self, request):
    text = _misbehaving_text(json.dumps(chat_prompt.messages(request)))
    problem = quality.problem(
      text, request.hidden_title, is_query=request.kind is TextKind.SPECIFIC
    )
    if problem is None:
      return text
    self.problems[problem] += 1
    return self._by_rule.write([request])[0]


def test_what_cannot_be_used_is_replaced_and_counted(
  chat_server, make_generator
):
  chat_server.behave = lambda exchange: exchange.write(
    _misbehaving_text(exchange.content)
  )
  generator = make_generator()
  rows = list(generator.rows())
  wanted = Listening(generator.fallback)
  assert rows == list(make_generator(wanted).rows())
  assert generator.replaced == wanted.problems
  assert set(generator.replaced) == {
    "link_or_markup",
    "control_characters",
    "says_the_title",
  }
  # Bad replies were paid for as well: they are not asked for again.
  asked = chat_server.asked.total()
  assert list(make_generator().rows()) == rows
  assert chat_server.asked.total() == asked


def test_the_estimate_counts_the_calls_that_are_made(
  chat_server, make_generator, monkeypatch
):
  monkeypatch.setattr(generate, "CHUNK", 40)
  generator = make_generator()
  teacher = generator.teacher
  batches = list(generator.text_requests())
  assert len(batches) > 2
  before = teacher.estimate(batches)
  assert chat_server.asked.total() == 0
  written = []

  class Recording(chat.ChatTeacher):
    def write(self, requests):
      written.append(list(requests))
      return super().write(requests)

  texts = [
    row
    for row in make_generator(Recording(teacher.config)).rows()
    if isinstance(row, FineGrained)
  ]
  assert texts
  assert written == batches
  assert chat_server.asked.total() == before.calls
  assert (before.cached, before.calls) == (0, sum(map(len, batches)))
  after = teacher.estimate(generator.text_requests())
  assert after == budget.Estimate(0, before.calls, budget.Tokens())


def test_an_estimate_is_about_the_tokens_of_english(make_generator):
  """Four bytes a token, and the longest reply."""
  (batch,) = list(make_generator().text_requests(["test"]))
  estimate = make_generator().teacher.estimate([batch])
  size = sum(
    len(message["content"])
    for request in batch
    for message in chat_prompt.messages(request)
  )
  assert estimate.tokens.reply == 120 * len(batch)
  frame = 100 * len(batch)
  assert size / 4 < estimate.tokens.prompt < size / 4 + frame


def _args(prepared_dir, server, tmp_path, output="out"):
  return [
    "generate",
    f"--data={prepared_dir}",
    f"--output={tmp_path / output}",
    "--vocab_size=500",
    "--teacher=chat",
    "--teacher_model=tiny",
    f"--teacher_base_url={server.url}",
    f"--teacher_cache={tmp_path / 'cache.sqlite'}",
    "--teacher_concurrency=4",
  ]


@pytest.mark.tf
def test_the_command_estimates_first(prepared_dir, chat_server, tmp_path):
  args = _args(prepared_dir, chat_server, tmp_path)
  with pytest.raises(
    budget.BudgetExceededError,
    match=r"nothing was asked: .* calls would take about .* tokens, 9,999 are "
    r"allowed; raise --teacher_max_tokens",
  ):
    call(*args, "--teacher_max_tokens=9999")
  prices = ("--teacher_price_in=0.5", "--teacher_price_out=1.5")
  with pytest.raises(
    budget.BudgetExceededError,
    match=r"0\.\d{4} in money, 0.0100 are allowed; raise --teacher_max_cost",
  ):
    call(*args, *prices, "--teacher_max_cost=0.01")
  assert chat_server.asked.total() == 0
  assert not (tmp_path / "out").exists()
  output = call(*args, *prices, "--teacher_max_cost=1")
  calls = chat_server.asked.total()
  assert f"estimate: {calls:,} calls (0 more texts are in the cache)" in output
  used = calls * sum(chat_server.tokens)
  cost = calls * (0.5 * 150 + 1.5 * 20) / 1e6
  assert f"used: {used:,} tokens, {cost:.4f} in money" in output
  manifest = json.loads((tmp_path / "out/manifest.json").read_text())
  assert manifest["teacher"]["name"] == "chat"
  # All is in the cache: no budget is too small for it.
  output = call(*args, "--teacher_max_tokens=0", "--overwrite")
  assert f"estimate: 0 calls ({calls:,} more" in output
  assert chat_server.asked.total() == calls


@pytest.mark.parametrize("option", ["--num_workers=2", "--runner=beam"])
def test_several_processes_do_not_share_a_budget(
  option, prepared_dir, chat_server, tmp_path
):
  with pytest.raises(ValueError, match="the chat teacher works in one process"):
    call(*_args(prepared_dir, chat_server, tmp_path), option)


@pytest.mark.slow
@pytest.mark.tf
def test_a_killed_run_goes_on_and_pays_for_nothing_twice(
  prepared_dir, chat_server, tmp_path
):
  replies, paid = 100, collections.Counter()

  def behave(exchange):
    if exchange.number <= replies:
      paid[exchange.content] += 1
      exchange.write()
    else:
      chat_server.stopped.wait(60)

  chat_server.behave = behave
  args = _args(prepared_dir, chat_server, tmp_path)
  process = subprocess.Popen(
    [sys.executable, "-m", "instructrec.cli.main", *args],
    env={
      **os.environ,
      "PYTHONPATH": str(pathlib.Path(instructrec.__file__).parent.parent),
    },
    cwd=tmp_path,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  try:
    while _rows(tmp_path / "cache.sqlite") < replies:
      assert process.poll() is None
      time.sleep(0.05)
  finally:
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert not (tmp_path / "out").exists()
  asked = collections.Counter(chat_server.asked)
  assert 0 < asked.total() - replies <= 4

  chat_server.behave = lambda exchange: exchange.write()
  call(*args)
  asked_again = chat_server.asked - asked
  # As deep, for records hold paths to each other.
  other = tmp_path.with_name(f"{tmp_path.name}_other")
  chat_server.asked.clear()
  other.mkdir()
  call(*_args(prepared_dir, chat_server, other))
  assert paid + asked_again == chat_server.asked
  files = _files(tmp_path / "out")
  assert len(files) > 10
  assert files == _files(other / "out")


def _rows(path):
  if not path.exists():
    return 0
  with (
    contextlib.closing(sqlite3.connect(path)) as db,
    contextlib.suppress(sqlite3.OperationalError),  # No table yet.
  ):
    return db.execute("SELECT COUNT(*) FROM hashed_replies").fetchone()[0]
  return 0


def _files(folder):
  return {
    path.relative_to(folder): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def test_help_shows_the_names_of_extras():
  output = re.sub(r"[^\w\[\].]+", " ", call("generate", "--help"))
  assert "OPENAI_API_KEY alone [teacher] extra" in output
  assert "Apache Beam [beam] extra" in output
