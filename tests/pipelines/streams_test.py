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
    streams.open_stream(config, "validation", data_dir)
