"""What a run is told of its data before it trains."""

import pytest

from instructrec.training import data_config

pytestmark = pytest.mark.tf


def test_a_task_without_validation_rows_says_how_to_train_on_it(data_dir):
  from instructrec.pipelines import streams

  config = data_config.DataConfig(
    mixture="instructrec_v1_sequential_cot",
    inputs_length=64,
    targets_length=64,
    batch_size=2,
  )
  with pytest.raises(ValueError, match=r"DataConfig\.validation_split=None"):
    streams.load(config, "validation", data_dir)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(
  ("name", "found"), [("function", "FunctionDataSource"), ("tfds", "glue/cola")]
)
def test_a_task_of_another_source_is_named(data_dir, name, found, split):
  import seqio

  from instructrec.pipelines import streams

  source = {
    "function": lambda: seqio.FunctionDataSource(
      lambda split, shuffle_files, seed=None: None, ["train", "validation"]
    ),
    "tfds": lambda: seqio.TfdsDataSource("glue/cola:2.0.0"),
  }[name]()
  task = f"streams_test_{name}_{split}"
  seqio.TaskRegistry.add(
    task, source=source, preprocessors=[], output_features={}
  )
  seqio.MixtureRegistry.add(f"{task}_mixture", [(task, 1.0)])
  config = data_config.DataConfig(
    mixture=f"{task}_mixture",
    inputs_length=64,
    targets_length=64,
    batch_size=2,
  )
  wanted = f"task {task} reads {found}.* expected instructrec/<task>.* T5X"
  with pytest.raises(ValueError, match=wanted):
    streams.load(config, split, data_dir)
