"""Every template renders on the real Games data."""

import dataclasses

import pytest

from instructrec.data import candidates, dataset, splits, table
from instructrec.instructions import (
  format as instruction_format,
)
from instructrec.instructions import generate, offline, templates


@pytest.mark.slow
def test_every_template_renders_on_the_real_games(shared_data):
  games = shared_data / "amazon_games"
  log, items, _ = table.load(
    games / "interactions.tsv",
    games / "items.tsv",
    games / "reviews.jsonl.gz",
  )
  split = splits.leave_one_out(log, max_train_targets=2)
  # Every hundredth user: a sample of all lengths of history.
  kept = split.requests.filter(split.requests["user_id"].cast(int) % 100 == 0)
  requests = candidates.sample_candidates(kept, items, log, seed=0)
  split = dataclasses.replace(split, requests=requests)
  prepared = dataset.PreparedData(log, items, split, {})
  teacher = offline.OfflineTeacher(items)
  every = templates.load()
  seen = set()

  def collect(splits, **options):
    found = generate.Generator(prepared, teacher, every, **options)
    for record in found.rows(splits):
      if isinstance(record, instruction_format.Instruction):
        assert record.inputs
        assert record.targets
        seen.add(record.template_id)

  for protocol in ("stated", "strict", "paper"):
    collect(["train"], protocol=protocol)
  for template in every.of(held_out=True):
    collect(["test"], eval_templates=(template.id,))
  assert seen == {template.id for template in every.of()}
