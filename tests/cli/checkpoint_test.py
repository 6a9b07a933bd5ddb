"""`instructrec checkpoint`: in, out, looked at, compared, trained from."""

import dataclasses
import json
import pathlib
import pwd
import re
import shlex

import numpy as np
import pytest
import safetensors.numpy
from command_line import result_of

from instructrec import checksums
from instructrec.models.checkpoint import (
  convert,
  huggingface,
  names,
  opening,
  peft_form,
  tensors,
)
from instructrec.models.networks import adapters, llama_config, t5_config

_ROOT = pathlib.Path(__file__).parents[2]
# gin/models/tiny.gin at the vocabulary of gin/quickstart_token.gin.
CONFIG = t5_config.T5Config(
  vocab_size=2176,
  emb_dim=64,
  num_heads=4,
  head_dim=16,
  num_encoder_layers=2,
  num_decoder_layers=2,
  mlp_dim=128,
  dropout_rate=0.0,
)
NORM = "encoder.final_layer_norm.weight"


def call(*args, exit_code=0):
  result = result_of(*args)
  assert result.exit_code == exit_code, result.output
  return result.stdout


@pytest.fixture(name="hf", scope="module")
def hf_fixture(tmp_path_factory):
  """A folder as if downloaded."""
  rng = np.random.default_rng(0)
  params = {
    name: tensors.from_array(
      0.05 * rng.standard_normal(p.shape, np.float32), name
    )
    for name, p in names.parameters(CONFIG).items()
  }
  folder = tmp_path_factory.mktemp("download") / "flan"
  convert.convert(
    tensors.Checkpoint("memory", "instructrec", 0, params, {}, config=CONFIG),
    folder,
    convert.Settings(form="huggingface"),
  )
  return folder


def test_in_and_out_through_every_form(hf, tmp_path):
  report = tmp_path / "reports" / "import.json"
  text = call(
    "checkpoint",
    "import",
    f"--source={hf}",
    f"--output={tmp_path / 'ours'}",
    "--step=4",
    "--layers=stacked",
    f"--report={report}",
  )
  assert "shared.weight -> params/token_embedder/embedding" in text
  count = len(names.parameters(CONFIG))
  mapped = json.loads(report.read_text())["mapped"]
  assert sum("{0..1}" in m["source"] for m in mapped) == 23
  assert len(mapped) == count - 23
  path = tmp_path / "ours"
  for form in ("t5x", "t5x_legacy"):
    text = call(
      "checkpoint",
      "export",
      f"--source={path}",
      "--source_step=4",
      f"--output={tmp_path / form}",
      f"--format={form}",
      "--step=4",
    )
    assert f"{4 * count} added: fresh state of Adafactor" in text
    path = tmp_path / form
  call(
    "checkpoint",
    "export",
    f"--source={path}",
    f"--output={tmp_path / 'hf'}",
    "--format=huggingface",
  )
  text = call(
    "checkpoint", "diff", f"--first={hf}", f"--second={tmp_path / 'hf'}"
  )
  assert text == f"no difference in {count} parameters, to the last bit\n"


def test_inspect_prints_sizes(hf):
  lines = call("checkpoint", "inspect", f"--source={hf}").splitlines()
  assert lines[0] == f"{hf}: huggingface, step 0, layers unstacked"
  size = 4 * CONFIG.num_parameters / 2**30
  assert lines[1] == (
    f"{CONFIG.num_parameters:,} parameters in "
    f"{len(names.parameters(CONFIG))} arrays, {size:.3f} GiB"
  )
  assert "     1 x token_embedder/embedding  [2176, 64] float32" in lines
  assert "     2 x encoder/layers_*/mlp/wo/kernel  [128, 64] float32" in lines
  assert lines[-1] == f"complete: {CONFIG}"


def test_a_tilde_in_an_option_is_the_home_folder(hf, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(hf.parent))
  monkeypatch.chdir(tmp_path)
  call("checkpoint", "import", "--source=~/flan", "--output=~/ours")
  assert (hf.parent / "ours").is_dir()
  assert [*tmp_path.iterdir()] == []


def test_a_home_folder_that_is_unknown_is_named(tmp_path, monkeypatch):
  """As in a container whose user has no name."""

  def unknown(number):
    raise KeyError(number)

  monkeypatch.delenv("HOME")
  monkeypatch.setattr(pwd, "getpwuid", unknown)
  with pytest.raises(ValueError, match="~/flan: Could not determine home"):
    call("checkpoint", "import", "--source=~/flan", f"--output={tmp_path}/x")


def test_a_gin_file_says_what_shapes_do_not(tmp_path):
  """Heads and positions of a decoder-only network, in T5X's form and back."""
  gin_file = "gin/models/llama_tiny.gin"
  config = llama_config.LlamaConfig(
    vocab_size=2176,
    emb_dim=64,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    num_decoder_layers=2,
    mlp_dim=128,
    logits_via_embedding=True,
    bos_id=None,
    eos_id=1,
  )
  rng = np.random.default_rng(0)
  params = {
    name: tensors.from_array(rng.random(p.shape, np.float32), name)
    for name, p in names.parameters(config).items()
  }
  source = tensors.Checkpoint("memory", "instructrec", 0, params, {})
  settings = convert.Settings(form="t5x", config=config)
  convert.convert(source, tmp_path / "t5x", settings)
  args = (
    "checkpoint",
    "export",
    f"--source={tmp_path / 't5x'}",
    f"--output={tmp_path / 'hf'}",
    "--format=huggingface",
  )
  with pytest.raises(tensors.CheckpointError, match="name the gin file of the"):
    call(*args)
  text = call(*args, f"--gin_file={gin_file}")
  assert "2 x target/decoder/layers_*/mlp/wo/kernel -> model.layers.*.m" in text
  both = (f"--first={tmp_path / 't5x'}", f"--second={tmp_path / 'hf'}")
  assert "to the last bit" in call("checkpoint", "diff", *both)
  text = call(
    "checkpoint",
    "inspect",
    f"--source={tmp_path / 't5x'}",
    f"--gin_file={gin_file}",
  )
  assert f"{config.num_parameters:,} parameters" in text


def test_inspect_says_what_is_missing(hf, tmp_path):
  for file in hf.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  arrays = safetensors.numpy.load_file(tmp_path / huggingface.WEIGHTS)
  del arrays[NORM]
  safetensors.numpy.save_file(arrays, tmp_path / huggingface.WEIGHTS)
  checksums.write(tmp_path)
  with pytest.raises(tensors.CheckpointError, match=f"missing .*\n *{NORM}"):
    call("checkpoint", "inspect", f"--source={tmp_path}")


def test_diff_fails_where_numbers_differ(hf, tmp_path):
  for file in hf.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  arrays = safetensors.numpy.load_file(tmp_path / huggingface.WEIGHTS)
  arrays[NORM][3] += 0.25
  safetensors.numpy.save_file(arrays, tmp_path / huggingface.WEIGHTS)
  checksums.write(tmp_path)
  both = (f"--first={hf}", f"--second={tmp_path}")
  text = call("checkpoint", "diff", *both, exit_code=1)
  assert text == (
    "encoder/encoder_norm/scale: values: 1 of 64 numbers, by at most 0.25\n"
    "parameters that differ: 1\n"
  )
  text = call("checkpoint", "diff", *both, "--atol=0.3")
  assert text.endswith(" parameters beyond 0.3\n")


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--format=pickle"], "form is 'pickle'; expected one of"),
    (["--format=t5x", "--dtype=int4"], "dtype is 'int4'"),
    (["--format=t5x", "--source_step=3"], "step 3 was asked for, but"),
    (["--format=huggingface", "--layers=stacked"], "unstacked only"),
  ],
)
def test_mistakes_leave_no_output(args, message, hf, tmp_path):
  with pytest.raises(ValueError, match=message):
    call(
      "checkpoint", "export", f"--source={hf}", f"--output={tmp_path}/x", *args
    )
  assert list(tmp_path.iterdir()) == []


@pytest.fixture(name="run", scope="module")
def run_fixture(hf, instructed, tmp_path_factory):
  """A run of one step, without change, that began with the downloaded file."""
  model = tmp_path_factory.mktemp("run") / "model"
  call(
    "train",
    "--gin_file=gin/quickstart_token.gin",
    f"--gin.INITIAL_CHECKPOINT_PATH='{hf}'",
    "--gin.LEARNING_RATE=0.0",
    "--gin.DROPOUT_RATE=0.2",
    "--gin.TRAIN_STEPS=1",
    "--gin.WARMUP_STEPS=0",
    "--gin.BATCH_SIZE=4",
    "--gin.EVAL_STEPS=1",
    "--gin.EVAL_LISTS=4",
    f"--tfds_data_dir={instructed / 'instructions'}",
    f"--model_dir={model}",
  )
  return model


@pytest.mark.tf
@pytest.mark.slow
def test_training_begins_with_the_numbers_of_a_download(hf, run):
  text = call("checkpoint", "diff", f"--first={hf}", f"--second={run}")
  assert "to the last bit" in text


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize(
  "path", ["", "checkpoints", "checkpoints/checkpoint_1"]
)
def test_a_run_tells_what_its_parameters_do_not(path, run, tmp_path):
  call(
    "checkpoint",
    "export",
    f"--source={run / path}",
    f"--output={tmp_path / 'hf'}",
    "--format=huggingface",
  )
  fields = json.loads((tmp_path / "hf" / huggingface.CONFIG).read_text())
  assert fields["dropout_rate"] == 0.2


@pytest.mark.tf
@pytest.mark.slow
def test_the_documented_commands_run(hf, run, tmp_path):
  text = (_ROOT / "docs" / "checkpoints.md").read_text()
  blocks = "".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
  commands = re.findall(
    r"^instructrec ((?:checkpoint|rank) .*)$",
    blocks.replace("\\\n", " "),
    re.MULTILINE,
  )
  # What is read of a LLaMA-style folder, llama_test.py shows; of adapters, the
  # tests of `merge` and of PEFT's form.
  apart = ("work/tinyllama", "work/lora", "work/for_peft", "work/merged")
  commands = [c for c in commands if not any(name in c for name in apart)]
  assert len(commands) >= 7, commands
  for command in commands:
    for shown, path in (
      ("work/flan", hf),
      ("work/model", run),
      ("work/", f"{tmp_path}/"),
    ):
      command = command.replace(shown, str(path))
    call(*shlex.split(command))


@pytest.mark.tf
@pytest.mark.slow
def test_evaluating_a_checkpoint_elsewhere_is_evaluating_the_runs(
  hf, run, tmp_path
):
  common = (
    "evaluate",
    f"--model_dir={run}",
    "--num_requests=5",
    # Weights would stay with the run, which other tests read.
    "--num_validation=0",
  )
  task = "--task_type=sequential_p1_i0"
  call(*common, task, f"--output={tmp_path / 'own'}")
  elsewhere = tmp_path / "t5x"
  for step in (7, 8):
    call(
      "checkpoint",
      "export",
      f"--source={hf}",
      f"--output={elsewhere}",
      "--format=t5x",
      "--optimizer=none",
      f"--step={step}",
    )
  call(
    *common,
    task,
    f"--output={tmp_path / 'other'}",
    f"--checkpoint={elsewhere}",
    "--step=7",
  )
  own, other = (
    json.loads((tmp_path / name / "report.json").read_text())["results"]
    for name in ("own", "other")
  )
  assert own == other
  with pytest.raises(FileNotFoundError, match=r"no checkpoint_9; .*\[7, 8\]"):
    call(*common, task, f"--checkpoint={elsewhere}", "--step=9")


def _peft(folder, width=64):
  """Adapters of the queries, as PEFT writes them."""
  rng = np.random.default_rng(3)
  lora = adapters.LoRA(targets=".*/query", rank=2, alpha=3.0)
  config = dataclasses.replace(CONFIG, emb_dim=width)
  params = {
    f"{name.removesuffix('/kernel')}/{factor}": tensors.from_array(
      rng.standard_normal(shape, np.float32), name
    )
    for name, p in names.parameters(config).items()
    if name.endswith("/query/kernel")
    for factor, shape in (
      (adapters.A, (p.shape[0], 2)),
      (adapters.B, (2, p.shape[1])),
    )
  }
  peft_form.write(folder, params, lora, config, base="someone/flan")
  return params


def test_adapters_of_peft_go_into_their_network(hf, tmp_path):
  params = _peft(tmp_path / "peft")
  source = f"--source={tmp_path / 'peft'}"
  output = f"--output={tmp_path / 'merged'}"
  with pytest.raises(FileNotFoundError, match=r"network someone/flan.*--base"):
    call("checkpoint", "merge", source, output)
  call("checkpoint", "merge", source, output, f"--base={hf}")
  merged = opening.open_checkpoint(tmp_path / "merged").params
  base = opening.open_checkpoint(hf).params
  assert merged.keys() == base.keys()
  for name, tensor in base.items():
    expected = tensor.read()
    if name.endswith("/query/kernel"):
      module = name.removesuffix("/kernel")
      a, b = (params[f"{module}/lora_{x}"].read() for x in "ab")
      expected = expected + np.float32(1.5) * (a @ b)
    np.testing.assert_array_equal(merged[name].read(), expected)


def test_adapters_that_do_not_fit_leave_nothing(hf, tmp_path):
  _peft(tmp_path / "peft", width=32)
  folder, output = tmp_path / "peft", tmp_path / "merged"
  arguments = (f"--source={folder}", f"--output={output}")
  with pytest.raises(tensors.CheckpointError, match="for another network than"):
    call("checkpoint", "merge", *arguments, f"--base={hf}")
  with pytest.raises(FileNotFoundError, match="adapters of PEFT, which"):
    call("checkpoint", "inspect", f"--source={folder}")
  with pytest.raises(tensors.CheckpointError, match="neither a run nor a fol"):
    call("checkpoint", "merge", f"--source={hf}", f"--output={output}")
  assert not output.exists()
