"""Every form holds the same numbers, and says what became of every name."""

import dataclasses
import json
import weakref

import numpy as np
import pytest
import safetensors.numpy

from instructrec.models.checkpoint import (
  convert,
  diff,
  huggingface,
  names,
  opening,
  orbax_form,
  stacking,
  tensors,
)
from instructrec.models.networks import llama_config, rotary, t5_config

GEOMETRIES = {
  # T5 1.0: one branch, logits from the table; the encoder is the deeper one.
  "t5_1_0": t5_config.T5Config(
    vocab_size=31,
    emb_dim=16,
    num_heads=2,
    head_dim=5,
    num_encoder_layers=3,
    num_decoder_layers=1,
    mlp_dim=12,
    mlp_activations=("relu",),
    logits_via_embedding=True,
  ),
  # Flan-T5-XL's ratios, narrow and of few layers.
  "xl_layout": t5_config.T5Config(
    vocab_size=502,
    emb_dim=32,
    num_heads=32,
    head_dim=1,
    num_encoder_layers=2,
    num_decoder_layers=2,
    mlp_dim=80,
  ),
  # All axes of a matrix alike: a forgotten transposition has the right shape.
  "square": t5_config.T5Config(
    vocab_size=8,
    emb_dim=8,
    num_heads=8,
    head_dim=1,
    num_encoder_layers=1,
    num_decoder_layers=2,
    mlp_dim=8,
    num_buckets=8,
  ),
  # Groups of queries, and a row of the tables that is padding elsewhere.
  "llama": llama_config.LlamaConfig(
    vocab_size=29,
    emb_dim=12,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    num_decoder_layers=11,
    mlp_dim=10,
    rope_theta=5e5,
    rope_scaling=rotary.Llama3Scaling(factor=4.0, original_max_length=64),
    bos_id=27,
    eos_id=28,
    padding_row=26,
  ),
  "llama_tied": llama_config.LlamaConfig(
    vocab_size=12,
    emb_dim=12,
    num_heads=2,
    num_kv_heads=2,
    head_dim=6,
    num_decoder_layers=1,
    mlp_dim=12,
    logits_via_embedding=True,
    norm_epsilon=1e-6,
  ),
}
# The forms in the order in which a model passes through them.
PATH = ("huggingface", "instructrec", "t5x", "t5x_legacy", "instructrec")


def _convert(source, output, form, **settings):
  report = convert.convert(
    source, output, convert.Settings(form=form, **settings)
  )
  return opening.open_checkpoint(report.output)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("geometry", [*GEOMETRIES, "flan"])
def test_through_all_forms_and_back_to_the_last_bit(
  geometry, dtype, tmp_path, flan, random_arrays, as_checkpoint, read_all
):
  cfg = GEOMETRIES.get(geometry, flan)
  arrays = random_arrays(cfg, dtype)
  # Numbers that are lost where bits are not kept.
  arrays["decoder/decoder_norm/scale"][:4] = -0.0, np.nan, np.inf, 1e-39
  found = as_checkpoint(arrays, cfg, step=7)
  # Where shapes do not tell it.
  config = cfg if geometry.startswith("llama") else None
  for place, form in enumerate(PATH):
    found = _convert(
      found,
      tmp_path / str(place),
      form,
      step=7,
      config=config,
      optimizer="none",
    )
    assert found.form == form
    assert found.step == (0 if form == "huggingface" else 7)
    read = read_all(found)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
      assert read[name].dtype == array.dtype
      assert read[name].tobytes() == array.tobytes(), (form, name)
    sizes = opening.check(found, config)
    assert names.parameters(sizes) == names.parameters(cfg)
    if form == "huggingface":
      # Other files leave some settings out.
      kept = dataclasses.replace(found.config, dropout_rate=cfg.dropout_rate)
      assert kept == cfg
  _convert(found, tmp_path / "last", "huggingface", config=config)
  first, last = (
    safetensors.numpy.load_file(tmp_path / folder / huggingface.WEIGHTS)
    for folder in ("0", "last")
  )
  assert first.keys() == last.keys()
  for name, array in first.items():
    assert array.tobytes() == last[name].tobytes(), name
  for file in ("0", "last"):
    written = json.loads((tmp_path / file / huggingface.CONFIG).read_text())
    expected = names.architecture(cfg).config_to_json(cfg)
    assert written == {**expected, "torch_dtype": dtype}


@pytest.mark.parametrize("form", ["instructrec", "t5x", "t5x_legacy"])
def test_stacked_and_unstacked_hold_the_same(
  form, tmp_path, flan, random_arrays, as_checkpoint
):
  original = as_checkpoint(random_arrays(flan))
  stacked = _convert(original, tmp_path / "a", form, layers="stacked")
  assert stacked.stacked
  assert diff.diff(original, stacked) == []
  # Stacked again out of a stacked file, and apart.
  again = _convert(stacked, tmp_path / "b", form, layers="stacked")
  assert diff.diff(stacked, again) == []
  apart = _convert(stacked, tmp_path / "c", form)
  assert not apart.stacked
  assert diff.diff(original, apart) == []
  assert diff.diff(apart, stacked) == []


@pytest.mark.parametrize("form", convert.FORMS)
def test_types_change_on_request(
  form, tmp_path, random_arrays, as_checkpoint, read_all
):
  arrays = random_arrays(GEOMETRIES["t5_1_0"])
  found = _convert(
    as_checkpoint(arrays), tmp_path / "a", form, dtype="bfloat16"
  )
  for name, array in read_all(found).items():
    expected = arrays[name].astype(tensors.DTYPES["bfloat16"])
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected, name)


@pytest.mark.parametrize(
  ("form", "layers"),
  [
    ("huggingface", "unstacked"),
    *((f, x) for f in convert.FORMS[::2] for x in convert.LAYERS),
    ("t5x_legacy", "stacked"),
  ],
)
def test_the_report_lists_every_name(
  form, layers, tmp_path, flan, random_arrays, as_checkpoint
):
  source = as_checkpoint(random_arrays(flan))
  source.left["opt_state/count"] = "state of the optimizer"
  report = convert.convert(
    source, tmp_path / "out", convert.Settings(form=form, layers=layers)
  )
  written = report.as_json()
  assert written["left"] == {"opt_state/count": "state of the optimizer"}
  if layers == "unstacked":
    assert [m["source"] for m in written["mapped"]] == list(source.params)
  # What it names is what lies there.
  found = opening.open_checkpoint(report.output)
  shapes = {m.output: tuple(m.shape) for m in report.mapped}
  if form == "huggingface":
    with safetensors.safe_open(
      tmp_path / "out" / huggingface.WEIGHTS, "np"
    ) as file:
      expected = {
        n: tuple(file.get_slice(n).get_shape())
        for n in file.keys()  # noqa: SIM118
      }
  else:
    root = "params" if form == "instructrec" else "target"
    params = found.params
    params = stacking.stack(params) if layers == "stacked" else params
    expected = {f"{root}/{n}": t.shape for n, t in params.items()}
  assert shapes == expected
  # Four arrays of Adafactor's a parameter.
  states = 4 * len(report.mapped) if form.startswith("t5x") else 0
  assert report.added == len(found.left) == states
  # On the screen layers share a line, and the counts add up.
  lines = report.text().splitlines()
  counts = [int(x.split()[0]) for x in lines[1:] if " -> " in x]
  assert sum(counts) == len(report.mapped)
  assert len(lines) < 45
  assert "     1 left: state of the optimizer" in lines


@pytest.mark.parametrize("form", convert.FORMS)
def test_what_matches_titles_stays_where_there_is_a_place_for_it(
  form, tmp_path, flan, random_arrays, as_checkpoint
):
  more = {
    "title_matching/factors": np.float32([0.5, 1.5]),
    "title_matching/title_hidden/kernel": np.ones((24, 96), np.float32),
  }
  arrays = random_arrays(flan) | more
  source = as_checkpoint(arrays)
  cfg = dataclasses.replace(flan, title_matching=True)
  for config in (None, cfg):
    report = convert.convert(
      source,
      tmp_path / str(config is None),
      convert.Settings(form=form, config=config),
    )
    found = opening.open_checkpoint(report.output)
    opening.check(found)
    if form == "huggingface":
      assert report.left.keys() == more.keys()
      assert "2 left: title_matching, for which Hugging" in report.text()
      assert found.params.keys() == arrays.keys() - more.keys()
    else:
      assert not report.left
      assert diff.diff(source, found) == []
  # Of a network that has none, they are what does not belong there.
  with pytest.raises(tensors.CheckpointError, match="title_matching/factors"):
    convert.convert(
      source, tmp_path / "other", convert.Settings(form=form, config=flan)
    )
  assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("form", convert.FORMS)
def test_a_failure_in_the_middle_leaves_nothing(
  form, tmp_path, flan, random_arrays, as_checkpoint
):
  arrays = random_arrays(flan)
  source = as_checkpoint(arrays)
  third = list(source.params)[2]

  def fail():
    raise OSError("the disk is gone")

  source.params[third] = dataclasses.replace(source.params[third], read=fail)
  settings = convert.Settings(form=form, step=5)
  with pytest.raises(OSError, match="the disk is gone"):
    convert.convert(source, tmp_path / "out", settings)
  assert [p for p in tmp_path.rglob("*") if p != tmp_path / "out"] == []
  assert not (tmp_path / "out" / "checkpoint_5").exists()
  # Nothing stands in the way of another try.
  whole = as_checkpoint(arrays)
  convert.convert(whole, tmp_path / "out", settings)
  assert diff.diff(whole, opening.open_checkpoint(tmp_path / "out")) == []


@pytest.mark.parametrize("form", convert.FORMS)
def test_an_output_that_exists_stays_as_it_is(
  form, tmp_path, random_arrays, as_checkpoint
):
  cfg = GEOMETRIES["t5_1_0"]
  first = as_checkpoint(random_arrays(cfg, seed=1))
  _convert(first, tmp_path / "out", form)
  with pytest.raises(FileExistsError, match=r"out.* exists already; remove it"):
    _convert(as_checkpoint(random_arrays(cfg)), tmp_path / "out", form)
  assert diff.diff(first, opening.open_checkpoint(tmp_path / "out")) == []


def test_steps_lie_side_by_side(tmp_path, random_arrays, as_checkpoint):
  cfg = GEOMETRIES["t5_1_0"]
  newer, older = (as_checkpoint(random_arrays(cfg, seed=s)) for s in (1, 2))
  _convert(newer, tmp_path, "t5x", step=20)
  _convert(older, tmp_path, "t5x", step=3)
  assert diff.diff(newer, opening.open_checkpoint(tmp_path)) == []
  assert diff.diff(older, opening.open_checkpoint(tmp_path, 3)) == []


class _Alive:
  """Counts the bytes, of arrays handed out, that somebody still holds."""

  def __init__(self):
    self.now = self.most = self.read = 0

  def watched(self, tensor):
    def read():
      # Its own memory, so that a view of it keeps it alive.
      array = np.array(tensor.read())
      weakref.finalize(array, self._gone, array.nbytes)
      self.now += array.nbytes
      self.read += 1
      self.most = max(self.most, self.now)
      return array

    return dataclasses.replace(tensor, read=read)

  def _gone(self, nbytes):
    self.now -= nbytes


@pytest.mark.parametrize("form", convert.FORMS)
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_tensors_are_read_and_let_go_as_they_are_written(
  form, dtype, tmp_path, flan, random_arrays, as_checkpoint, monkeypatch
):
  batch_bytes = 8192
  monkeypatch.setattr(orbax_form, "_BATCH_BYTES", batch_bytes)
  source = as_checkpoint(random_arrays(flan))
  alive = _Alive()
  watched = {n: alive.watched(t) for n, t in source.params.items()}
  convert.convert(
    dataclasses.replace(source, params=watched),
    tmp_path / "out",
    convert.Settings(form=form, dtype=dtype, optimizer="none"),
  )
  assert alive.read == len(watched)
  # What is written and what is read.
  assert alive.most <= 2 * batch_bytes
  assert sum(t.nbytes for t in watched.values()) > 40 * batch_bytes


@pytest.mark.parametrize("form", ["instructrec", "t5x", "t5x_legacy"])
def test_a_stacked_source_has_one_stacked_array_in_memory(
  form, tmp_path, random_arrays, as_checkpoint, monkeypatch
):
  monkeypatch.setattr(orbax_form, "_BATCH_BYTES", 1)
  arrays = random_arrays(GEOMETRIES["xl_layout"])
  stacked = stacking.stack(as_checkpoint(arrays).params)
  alive = _Alive()
  watched = {n: alive.watched(t) for n, t in stacked.items()}
  source = dataclasses.replace(
    as_checkpoint({}), params=stacking.unstack(watched), stacked=True
  )
  convert.convert(
    source, tmp_path / "out", convert.Settings(form=form, optimizer="none")
  )
  assert alive.read == len(stacked)
  assert alive.most <= 2 * max(t.nbytes for t in stacked.values())


def test_the_network_may_be_known_better_than_from_shapes(
  tmp_path, random_arrays, as_checkpoint
):
  cfg = dataclasses.replace(
    GEOMETRIES["xl_layout"],
    mlp_activations=("silu", "linear"),
    dropout_rate=0.3,
  )
  source = as_checkpoint(random_arrays(cfg))
  found = _convert(source, tmp_path / "a", "huggingface", config=cfg)
  assert found.config == cfg
  found = _convert(source, tmp_path / "b", "huggingface")
  assert found.config.mlp_activations == ("gelu", "linear")
  other = dataclasses.replace(cfg, num_decoder_layers=3)
  with pytest.raises(
    tensors.CheckpointError,
    match=r"(?s)2 \+ 3 layers \(sizes from the caller\).*decoder/layers_2",
  ):
    _convert(source, tmp_path / "c", "huggingface", config=other)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"form": "pickle"}, "form is 'pickle'; expected one of instructrec, hugg"),
    ({"form": "t5x", "dtype": "int8"}, "dtype is 'int8'; expected one of None"),
    ({"form": "t5x", "layers": "flat"}, "layers is 'flat'; expected one of"),
    ({"form": "t5x", "optimizer": "sgd"}, "optimizer is 'sgd'; expected one"),
    ({"form": "t5x", "step": -1}, "step is -1; expected at least 0"),
    ({"form": "huggingface", "layers": "stacked"}, "unstacked only"),
  ],
)
def test_settings_that_are_none(settings, message):
  with pytest.raises(ValueError, match=message):
    convert.Settings(**settings)
