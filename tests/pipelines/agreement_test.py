"""Settings that a run has of the one that it begins with."""

import dataclasses
import pathlib
import types

import pytest

from instructrec.models.networks import llama_config
from instructrec.pipelines import agreement
from instructrec.training import data_config, gin_config, runner

FILES = ("gin/align_cpu.gin",)
CHECKPOINT = "/shop/taught/checkpoints/checkpoint_9"


@pytest.fixture(scope="module", name="taught")
def taught_fixture():
  """A run of the gin file that lists are taught with, of other sizes."""
  gin_config.parse(
    ["gin/control_cpu.gin"],
    ["NUM_ITEMS=77", "HISTORY_LENGTH=12", "t5_config.T5Config.emb_dim=32"],
  )
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  return types.SimpleNamespace(
    directory=pathlib.Path("/shop/taught"),
    model=config.model.merged(),
    data=dataclasses.replace(
      data,
      inputs_length=40,
      targets_length=64,
      title_length=20,
      leave_out_longer=True,
    ),
  )


def test_sizes_and_lengths_are_those_of_the_run(taught):
  found = agreement.bindings(taught, CHECKPOINT, FILES, ["SEED=3"])
  assert found[0] == "SEED=3"
  gin_config.parse(FILES, found)
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  gin_config.check_all_used()
  own, theirs = config.model.network_config, taught.model.network_config
  assert own.adapter is not None
  assert dataclasses.replace(own, adapter=None) == theirs
  assert (own.num_items, own.emb_dim) == (77, 32)
  assert config.initial_checkpoint == CHECKPOINT
  assert config.seed == 3
  assert (data.history_length, data.inputs_length) == (12, 40)
  assert data.leave_out_longer
  # What is trained is the gin file's.
  assert data.mixture == "control_v1_lists"
  assert data.list_length == 10


@pytest.mark.parametrize(
  ("loss", "has_critic"), [("grpo", False), ("ppo", True)]
)
def test_another_loss_takes_the_place_of_the_first_alone(
  taught, loss, has_critic
):
  """The anchors stay, and so does what the run ranks by."""
  files = (*FILES, f"gin/objectives/list_{loss}.gin")
  gin_config.parse(files, agreement.bindings(taught, CHECKPOINT, files, []))
  model = gin_config.build(runner.TrainConfig).model
  assert model.score_parts == taught.model.score_parts
  assert type(model.objective.objectives[0].loss).__name__ == loss.upper()
  assert model.network_config.value_head is has_critic


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ("NUM_ITEMS=78", r"--gin\.NUM_ITEMS=78, the run has 77: these are of"),
    ("INITIAL_CHECKPOINT_PATH='/b'", r"INITIAL_CHECKPOINT_PATH='/b', the run"),
    ("OBJECTIVE=@list_objective.ListObjective()", "ranks by match, which"),
  ],
)
def test_what_is_at_odds_with_the_run_is_refused(taught, given, message):
  with pytest.raises(ValueError, match=message):
    agreement.bindings(taught, CHECKPOINT, FILES, [given])


def test_what_the_run_has_may_be_said(taught):
  found = agreement.bindings(taught, CHECKPOINT, FILES, ["NUM_ITEMS=77"])
  assert sum(binding.startswith("NUM_ITEMS") for binding in found) == 1


def test_another_kind_of_network_is_refused(taught):
  config = llama_config.LlamaConfig(vocab_size=64)
  other = types.SimpleNamespace(
    directory=taught.directory,
    model=types.SimpleNamespace(network_config=config),
    data=taught.data,
  )
  with pytest.raises(
    ValueError, match=r"has a T5Config, the run in .* a Llama"
  ):
    agreement.bindings(other, CHECKPOINT, FILES, [])
