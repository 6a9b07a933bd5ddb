"""A MODEL_DIR of T5X is opened: its settings as data, its checkpoints read."""

import pathlib
import sys

import jax
import numpy as np
import pytest

from instructrec.models import ranking_model, tokenizer
from instructrec.models.checkpoint import (
  convert,
  names,
  orbax_form,
  tensors,
)
from instructrec.models.networks import t5_config
from instructrec.training import (
  gin_data,
  item_titles,
  mesh,
  run_dir,
  strict_gin,
  t5x_run,
  trained_run,
)

RECORDED = pathlib.Path(__file__).parents[1] / "recorded_t5x_config.gin"
CONFIG = t5_config.T5Config(
  vocab_size=2176,
  emb_dim=64,
  num_heads=4,
  head_dim=16,
  num_encoder_layers=2,
  num_decoder_layers=2,
  mlp_dim=128,
  dropout_rate=0.0,
  dtype="float32",
)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
  """A vocabulary that the network has room for."""
  path = tmp_path_factory.mktemp("words") / "own.model"
  tokenizer.train(["a mug for cold tea"] * 9, path, vocab_size=400)
  return path


@pytest.fixture
def folder(tmp_path):
  """A MODEL_DIR as far as settings are looked at."""
  model = tmp_path / "model"
  model.mkdir()
  (model / "config.gin").write_text(RECORDED.read_text())
  return model


@pytest.fixture
def data(tmp_path):
  path = tmp_path / "instructions"
  path.mkdir()
  return path


def changed(folder, before, after):
  path = folder / "config.gin"
  assert before in path.read_text()
  path.write_text(path.read_text().replace(before, after))


def saved(folder, step, seed=0):
  """Writes a checkpoint as T5X has it; the numbers by name."""
  rng = np.random.default_rng(seed)
  arrays = {
    name: rng.standard_normal(p.shape).astype(np.float32)
    for name, p in names.parameters(CONFIG).items()
  }
  params = {n: tensors.from_array(a, n) for n, a in arrays.items()}
  source = tensors.Checkpoint(
    "memory", "instructrec", step, params, {}, config=CONFIG
  )
  convert.convert(source, folder, convert.Settings(form="t5x", step=step))
  return arrays


def same(params, arrays):
  found = {
    "/".join(k.key for k in path): value
    for path, value in jax.tree_util.tree_leaves_with_path(params)
  }
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(found[name], array, name)


def opened(folder, data, words, **options):
  return t5x_run.load(folder, tfds_data_dir=data, vocabulary=words, **options)


def test_the_settings_are_those_of_its_own_config(folder, data, words):
  run = opened(folder, data, words)
  assert isinstance(run.model, ranking_model.NetworkRankingModel)
  assert run.model.module.config == CONFIG
  assert run.model.optimizer_def is None
  assert run.data.mixture == "instructrec_v1"
  assert run.data.eval_mixture == "instructrec_v1_rerank"
  assert (run.data.inputs_length, run.data.targets_length) == (256, 32)
  assert run.data.modules == ("instructrec.pipelines.tasks_v1",)
  assert not run.data.reads_items
  assert run.layout == mesh.MeshConfig(shard_parameters=True)
  assert run.config == RECORDED.read_text()
  assert run.directory == folder
  assert (run.vocabulary, run.items) == (words, data)
  assert not run.record
  assert run.log is None


def test_other_settings_are_followed(folder, data, words):
  changed(folder, "emb_dim = 64", "emb_dim = 32")
  changed(folder, "SUBMESH = (1, 1, 1, 1)", "SUBMESH = (2, 2, 1, 1)")
  changed(folder, "RANDOM_SEED = %SEED", "RANDOM_SEED = 7")
  changed(
    folder,
    "TASK_FEATURE_LENGTHS = {'inputs': %INPUTS_LENGTH, 'targets': "
    "%TARGETS_LENGTH}",
    "from instructrec.training import data_config\n"
    "TASK_FEATURE_LENGTHS = @train/data_config.feature_lengths()\n"
    "data_config.feature_lengths.inputs = 64\n"
    "data_config.feature_lengths.targets = %TARGETS_LENGTH\n"
    "data_config.feature_lengths.history_length = 20\n"
    "train/data_config.feature_lengths.num_drawn = 16",
  )
  changed(
    folder, "= 'instructrec_v1_rerank'", "= 'instructrec_v1_rerank_items'"
  )
  changed(folder, "PATH = ()", "PATH = 'gs://bucket/flan/checkpoint_1'")
  run = opened(folder, data, words)
  assert run.model.emb_dim == 32
  assert run.layout.model == 4
  assert run.data.inputs_length == 64
  assert (run.data.history_length, run.data.title_length) == (20, 24)
  assert run.data.num_drawn == 16
  # The same rows, whose items the table knows.
  assert run.data.eval_mixture == "instructrec_v1_rerank"
  assert run.start == trained_run.Start(7, "gs://bucket/flan/checkpoint_1")


def test_a_decoder_writes_the_items_of_the_instructions(folder, data, words):
  """What T5X read them by lies in modules that are not opened."""
  changed(
    folder,
    "import ranking_model",
    "import ranking_model\n"
    "from instructrec.models.generation import catalog_decoder\n"
    "from instructrec.pipelines import task_catalog\n"
    "ranking_model.NetworkRankingModel.decoder = "
    "@catalog_decoder.CatalogDecoder()\n"
    "catalog_decoder.CatalogDecoder.num_beams = 20\n"
    "catalog_decoder.CatalogDecoder.catalog = @task_catalog.read\n"
    "task_catalog.read.mixture_or_task_name = %MIXTURE_OR_TASK_NAME",
  )
  run = opened(folder, data, words)
  assert run.model.decoder.num_beams == 20
  assert run.model.decoder.catalog == item_titles.ItemTitles(data, words, 32)


def test_the_parameters_are_those_of_its_checkpoints(folder, data, words):
  older, newer = saved(folder, 10), saved(folder, 20, seed=1)
  run = opened(folder, data, words)
  params, step = run.params()
  assert step.step == 20
  same(params, newer)
  params, step = run.params(10)
  assert step.step == 10
  same(params, older)
  with pytest.raises(FileNotFoundError, match=r"no checkpoint_30; .*10, 20"):
    run.params(30)


def test_untrained_is_what_the_run_began_from(folder, data, words):
  """From scratch: T5X's first checkpoint, not numbers drawn here."""
  assert opened(folder, data, words).start is None
  assert opened(folder, data, words).initial_params() is None
  first = saved(folder, 0)
  saved(folder, 20, seed=1)
  run = opened(folder, data, words)
  assert run.start.checkpoint == str(folder / "checkpoint_0")
  same(run.initial_params(), first)
  pretrained = folder.parent / "flan"
  begun = saved(pretrained, 7, seed=2)
  changed(folder, "PATH = ()", f"PATH = '{pretrained / 'checkpoint_7'}'")
  same(opened(folder, data, words).initial_params(), begun)


def test_a_checkpoint_of_another_network_is_named(folder, data, words):
  saved(folder, 20)
  changed(folder, "mlp_dim = 128", "mlp_dim = 96")
  with pytest.raises(tensors.CheckpointError) as error:
    opened(folder, data, words).params()
  assert str(folder / "checkpoint_20") in str(error.value)
  assert "wo/kernel: found [128, 64], expected [96, 64]" in str(error.value)


EVIL = {
  "import subprocess\n": "names 'subprocess'",
  "from evil import t5x\nt5x.run.me = 1\n": "names 'evil.t5x'",
  "import subprocess\n"
  "t5_config.T5Config.num_buckets = @subprocess.getoutput()\n": (
    "names 'subprocess'"
  ),
  "from instructrec import output_folder\n"
  "MODEL = @output_folder.replacing()\n": "names 'instructrec.output_folder'",
  "from instructrec.models.networks import t5\n"
  "MODEL = @t5.checkpoint_name()\n": "nothing that a run is made of",
}


@pytest.mark.parametrize("lines", EVIL)
def test_what_a_run_is_not_made_of_is_refused(folder, data, words, lines):
  path = folder / "config.gin"
  path.write_text(path.read_text() + lines)
  with pytest.raises((strict_gin.NotAllowedError, gin_data.GinDataError)) as e:
    opened(folder, data, words)
  assert EVIL[lines] in str(e.value) or "checkpoint_name" in str(e.value)


def test_what_t5x_runs_beside_the_model_is_not_looked_at(folder, data, words):
  """Its part of the settings may name anything of T5X's: nothing is called."""
  path = folder / "config.gin"
  path.write_text(
    path.read_text()
    + "from t5x.contrib import evil\nOPTIMIZER = @evil.Optimizer()\n"
    "evil.Optimizer.marker = 1\n"
    "train_script.train.actions = {'x': @evil.run()}\n"
  )
  before = set(sys.modules)
  assert opened(folder, data, words).model.emb_dim == 64
  assert not {name for name in set(sys.modules) - before if "t5x." in name}


def test_a_users_module_is_named_to_be_trusted(folder, data, words):
  path = folder / "config.gin"
  path.write_text(path.read_text() + "import my_tasks\n")
  with pytest.raises(strict_gin.NotAllowedError, match="--module=my_tasks"):
    opened(folder, data, words)
  run = opened(folder, data, words, modules=("my_tasks",))
  assert run.data.modules[-1] == "my_tasks"
  changed(folder, "import my_tasks", "MIXTURE_OR_TASK_MODULE = 'my_tasks'")
  with pytest.raises(strict_gin.NotAllowedError, match="--module=my_tasks"):
    opened(folder, data, words)
  run = opened(folder, data, words, modules=("my_tasks",))
  assert run.data.modules[-1] == "my_tasks"


def test_a_model_of_t5xs_own_is_t5xs_to_evaluate(folder, data, words):
  changed(
    folder,
    "MODEL = @ranking_model.NetworkRankingModel()",
    "from t5x import models\nMODEL = @models.EncoderDecoderModel()",
  )
  with pytest.raises(gin_data.GinDataError, match="MODEL is no Network"):
    opened(folder, data, words)


def test_what_t5x_does_not_write_down_must_be_said(
  folder, data, words, monkeypatch
):
  with pytest.raises(FileNotFoundError, match="pass --tfds_data_dir"):
    opened(folder, None, words)
  monkeypatch.delenv(tokenizer.ENVIRONMENT_VARIABLE, raising=False)
  with pytest.raises(FileNotFoundError) as error:
    opened(folder, data, None)
  assert f"was trained with {tokenizer.PUBLIC_T5}" in str(error.value)
  assert "as --vocabulary" in str(error.value)
  monkeypatch.setenv(tokenizer.ENVIRONMENT_VARIABLE, str(words))
  assert opened(folder, data, None).vocabulary == words
  changed(folder, "VOCAB_SIZE = 2176", "VOCAB_SIZE = 64")
  with pytest.raises(ValueError, match=r"has \d+ ids, the network of .* 64; "):
    opened(folder, data, words)


def test_gin_files_and_a_checkpoint_make_a_run(folder, data, words):
  saved(folder, 20)
  run = t5x_run.of_files(
    ["gin/models/tiny.gin"],
    [
      "VOCAB_SIZE=2176",
      "INPUTS_LENGTH = 64",
      "t5_config.T5Config.dtype='float32'",
    ],
    checkpoint=str(folder / "checkpoint_20"),
    tfds_data_dir=data,
    vocabulary=words,
  )
  assert run.model.module.config.emb_dim == 64
  assert np.dtype(run.model.module.config.dtype) == np.float32
  assert (run.data.inputs_length, run.data.targets_length) == (64, 128)
  assert run.start is None
  assert run.directory == folder
  assert run.params()[1].step == 20
  assert run.config.splitlines()[1:3] == [
    "include 'gin/models/tiny.gin'",
    "VOCAB_SIZE=2176",
  ]


def test_files_of_the_embedded_runner_say_their_lists(data, words):
  def opened(*lengths, file="gin/genrec_tiny.gin"):
    return t5x_run.of_files(
      [file],
      ["VOCAB_SIZE=2176", *lengths],
      checkpoint="work/checkpoint_1",
      tfds_data_dir=data,
      vocabulary=words,
    )

  with pytest.raises(gin_data.GinDataError, match="INPUTS_LENGTH is 0, by wh"):
    opened("INPUTS_LENGTH = 0")
  run = opened("INPUTS_LENGTH = 64", "TARGETS_LENGTH = 32")
  assert run.data.eval_mixture == "genrec_v1_rerank"
  # Of titles that nothing reads, no length is wanted.
  run = opened(
    "INPUTS_LENGTH = 64",
    "TARGETS_LENGTH = 32",
    "HISTORY_LENGTH = 0",
    "NUM_DRAWN = 0",
    "TITLE_LENGTH = 0",
    file="gin/quickstart_token.gin",
  )
  assert not run.data.reads_items


def test_objectives_say_how_their_items_lie(data, words):
  run = t5x_run.of_files(
    ["gin/models/tiny.gin", "gin/objectives/next_item.gin"],
    ["VOCAB_SIZE=2176"],
    checkpoint="work/checkpoint_1",
    tfds_data_dir=data,
    vocabulary=words,
  )
  assert run.data.reads_items
  assert run.data.history_length > 0
  assert run.model.module.config.title_matching


@pytest.mark.parametrize(
  ("binding", "message"),
  [
    ("INPUTS_LENGHT=64", "did you mean INPUTS_LENGTH"),
    ("T5Confg.emb_dim=64", "bind no T5Confg; they bind .*T5Config"),
    ("T5Config.emb_dims=64", "has no parameter 'emb_dims'"),
    ("T5Config.emb_dim=0", "expected a positive whole number"),
  ],
)
def test_a_misspelt_binding_is_named(data, words, binding, message):
  with pytest.raises(ValueError, match=message):
    t5x_run.of_files(
      ["gin/models/tiny.gin"],
      ["VOCAB_SIZE=2176", binding],
      checkpoint="work/checkpoint_1",
      tfds_data_dir=data,
      vocabulary=words,
    )


def test_our_runner_leaves_a_folder_of_t5x_as_it_is(folder):
  before = sorted(path.name for path in folder.iterdir())
  with (
    pytest.raises(FileExistsError, match="holds a run of T5X"),
    run_dir.locked(folder, print),
  ):
    pass
  with pytest.raises(FileNotFoundError, match="`evaluate` and `rank` open"):
    run_dir.load(folder)
  assert sorted(path.name for path in folder.iterdir()) == before


# What gin/runs/t5x_lora.gin adds to the settings that T5X writes down.
_LORA_IMPORTS = """
from flax import traverse_util
from instructrec.models.networks import adapters
from t5x import optimizers
"""
_LORA = """
ADAPTER = @adapters.LoRA()
t5_config.T5Config.adapter = %ADAPTER
adapters.LoRA.targets = '.*/query'
adapters.LoRA.rank = 2
adapters.LoRA.alpha = 6.0
optimizers.MultiOptimizer.traversals_and_optimizers = \\
    [(@traverse_util.ModelParamTraversal(), @adafactor.Adafactor())]
traverse_util.ModelParamTraversal.filter_fn = @adapters.is_trained
"""


def test_adapters_are_merged_into_the_network_beside_them(folder, data, words):
  text = RECORDED.read_text()
  optimizer = "OPTIMIZER = @optimizers.MultiOptimizer()"
  text = text.replace("OPTIMIZER = @adafactor.Adafactor()", optimizer)
  first = "from __gin__ import dynamic_registration\n"
  assert first in text
  text = text.replace(first, first + _LORA_IMPORTS, 1)
  (folder / "config.gin").write_text(text + _LORA)
  rng = np.random.default_rng(4)
  arrays = {
    name: rng.standard_normal(p.shape).astype(np.float32)
    for name, p in names.parameters(CONFIG).items()
  }
  factors, merged = {}, dict(arrays)
  for name in arrays:
    if name.endswith("/query/kernel"):
      module = name.removesuffix("/kernel")
      a, b = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((64, 2), (2, 64))
      )
      factors |= {f"{module}/lora_a": a, f"{module}/lora_b": b}
      merged[name] = arrays[name] + np.float32(3) * (a @ b)
  assert len(factors) == 2 * 6
  tree = {("target", *n.split("/")): x for n, x in (arrays | factors).items()}
  orbax_form.write(folder, 3, {**tree, ("state", "step"): np.int32(3)})
  run = opened(folder, data, words)
  assert run.model.network_config == CONFIG
  params, chosen = run.params()
  assert chosen.step == 3
  same(params, merged)
