"""The fresh state has the shapes that T5X's Adafactor has.

`adafactor_t5x.json` holds what `t5x.adafactor.Adafactor` of google-research/t5x
at cc342d4, with its standard logical factor rules, makes for a parameter;
`t5x_test.py` holds the file against T5X where that is installed.
"""

import json
import pathlib

import numpy as np
import pytest

from instructrec.models.checkpoint import adafactor

RECORD = pathlib.Path(__file__).parent / "adafactor_t5x.json"


@pytest.mark.parametrize(
  "recorded",
  json.loads(RECORD.read_text()),
  ids=lambda r: "x".join(map(str, r["shape"])) + "-" + "-".join(r["axes"]),
)
def test_shapes_are_those_recorded_of_t5x(recorded):
  state = adafactor.fresh_state(recorded["shape"], recorded["axes"])
  assert {n: list(a.shape) for n, a in state.items()} == recorded["state"]
  for array in state.values():
    assert array.dtype == np.float32
    assert not array.any()
