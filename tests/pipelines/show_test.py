"""What is shown is what training reads: tokens, texts, lengths, rates."""

import itertools
import re

import numpy as np
import pytest

from instructrec.instructions import units
from instructrec.models import tokenizer

pytestmark = pytest.mark.tf

_PREFIX = "show_test_v1"
_SOME = "_without_personalized_search"
_MODULE = f'''
from instructrec.pipelines import registry, vocabulary

registry.register(vocabulary.default(), prefix="{_PREFIX}")
'''


@pytest.fixture
def shown(data_dir, tmp_path_factory, monkeypatch):
  """Shows with tasks of a module of one's own, registered once."""
  from instructrec.pipelines import show

  # It is set by `show`; another data set's must not stay.
  monkeypatch.setenv(tokenizer.ENVIRONMENT_VARIABLE, "/not/there.model")
  folder = tmp_path_factory.getbasetemp() / "show_modules"
  folder.mkdir(exist_ok=True)
  (folder / "show_test_tasks.py").write_text(_MODULE)
  monkeypatch.syspath_prepend(str(folder))
  return lambda suffix="", **settings: show.show(
    f"{_PREFIX}{suffix}",
    data_dir,
    modules=("show_test_tasks",),
    **settings,
  )


@pytest.fixture(scope="module")
def rows(prepared_dir):
  spec = units.Spec(prepared_dir=str(prepared_dir))
  return [r for r in spec.generator().rows() if hasattr(r, "inputs")]


def test_examples_are_those_of_the_data_tokenized_and_decoded(
  shown, data_dir, rows
):
  from instructrec.pipelines import generate

  ours = tokenizer.Tokenizer(data_dir / generate.VOCABULARY)
  found = shown(_SOME, num_examples=3)
  assert len(found.examples) == len(found.rates) > 5
  for task, examples in found.examples.items():
    config = task.removeprefix(f"{_PREFIX}_")
    wanted = [r for r in rows if (r.config, r.split) == (config, "train")]
    assert found.sizes[task] == len(wanted)
    assert len(examples) == 3
    texts = {
      (r.template_id, ours.decode(ours.encode(r.inputs)),
       (ours.decode(ours.encode(r.targets)),), tuple(ours.encode(r.inputs)))
      for r in wanted
    }  # fmt: skip
    for example in examples:
      assert (
        example.template_id,
        example.inputs,
        example.targets,
        example.input_ids,
      ) in texts
    assert len(set(examples)) == 3


def test_lengths_are_those_of_the_tokens(shown, data_dir, rows):
  from instructrec.pipelines import generate

  ours = tokenizer.Tokenizer(data_dir / generate.VOCABULARY)
  found = shown("_sequential_p1_i0")
  (lengths,) = found.lengths.values()
  wanted = [
    r for r in rows if (r.config, r.split) == ("sequential_p1_i0", "train")
  ]
  for entry, texts in zip(
    lengths[:3],
    (
      [r.inputs for r in wanted],
      [r.targets for r in wanted],
      [r.prompt for r in wanted],
    ),
    strict=True,
  ):
    sizes = [len(ours.encode(text)) for text in texts]
    assert entry.count == len(sizes)
    assert entry.mean == pytest.approx(np.mean(sizes))
    assert entry.percentiles[3] == max(sizes)
    assert all(a <= b for a, b in itertools.pairwise(entry.percentiles))
  assert [entry.name for entry in lengths] == [
    "inputs",
    "targets",
    "prompts",
    "history",
  ]
  titles = [len(r.shown_history) for r in wanted]
  assert lengths[3].mean == pytest.approx(np.mean(titles))


def test_the_rates_are_of_the_tasks_that_have_the_split(shown):
  train, test = (
    shown(_SOME, split=split, num_examples=0) for split in ("train", "test")
  )
  for found in (train, test):
    assert sum(found.rates.values()) == pytest.approx(1)
  assert len(test.rates) == 3 < len(train.rates)


def test_the_seed_draws_the_examples(shown):
  first, again, other = (shown("_sequential_p1_i0", seed=s) for s in (0, 0, 1))
  assert first.examples == again.examples != other.examples


def test_lists_are_shown_as_lists(shown):
  found = shown("_sequential_p1_i0_rerank", split="test", num_examples=1)
  ((example,),) = found.examples.values()
  assert len(example.targets) == 10
  ((_, candidates, *_),) = found.lengths.values()
  assert candidates.name == "candidates"
  assert candidates.count == 10 * sum(found.sizes.values())


def test_unknown_names_and_splits_are_named(shown):
  with pytest.raises(ValueError, match=f"no SeqIO task .* '{_PREFIX}_odd'"):
    shown("_odd")
  with pytest.raises(ValueError, match="has the split 'test'"):
    shown("_sequential_cot", split="test")


def test_the_command_prints_all_of_it(shown, data_dir, capsys):
  from instructrec.cli import show as command

  command.show(
    tfds_data_dir=data_dir,
    name=f"{_PREFIX}_sequential_cot",
    module=["show_test_tasks"],
    num_examples=2,
  )
  printed = capsys.readouterr().out
  found = shown("_sequential_cot", num_examples=2)
  (task,) = found.rates
  assert re.search(rf"^{task} +100\.00% +{found.sizes[task]}$", printed, re.M)
  for entry in found.lengths[task]:
    assert re.search(
      rf"^{task} +{entry.name} +{entry.mean:.1f} +{entry.percentiles[0]} ",
      printed,
      re.M,
    )
  for example in found.examples[task]:
    assert f"{task}, template {example.template_id}" in printed
    assert f"  inputs  {example.inputs}\n" in printed
    assert f"  target  {example.targets[0]}\n" in printed
    assert "[history]" in example.prompt
    assert f"  prompt  {example.prompt}\n" in printed
    ids = " ".join(map(str, example.input_ids[:24]))
    assert f"  ids     {ids}" in printed
    assert f"({len(example.input_ids)})" in printed
