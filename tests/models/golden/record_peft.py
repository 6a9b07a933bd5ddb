"""Records what PEFT writes and computes, for tests without PyTorch.

Run in an environment with torch, transformers and peft:

  python tests/models/golden/record_peft.py

It rewrites the folders `peft_*` beside it: the files of `save_pretrained`, and
tokens with the logits of the network with its adapters. The networks are those
of the other recorders; what the adapters have learnt is drawn.
"""

import importlib.util
import pathlib

import numpy as np
import peft
import torch

FOLDER = pathlib.Path(__file__).parent
CASES = {
  # A list of names, as PEFT's users give it; in both stacks of T5.
  "t5": (
    "record_hf_t5",
    "gated_untied",
    {"task_type": "SEQ_2_SEQ_LM", "target_modules": ["q", "v"], "r": 4},
  ),
  # A pattern, and the logits.
  "llama": (
    "record_hf_llama",
    "grouped",
    {
      "task_type": "CAUSAL_LM",
      "target_modules": r".*\.(q_proj|o_proj|up_proj|down_proj)|lm_head",
      "r": 3,
      "lora_dropout": 0.1,
    },
  ),
}
ALPHA = 10
SEED = 12


def _recorder(name: str):
  spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def record(case: str) -> None:
  """Writes the folder of a case."""
  recorder, network, settings = CASES[case]
  base = _recorder(recorder).make_model(network)
  vocab_size = base.config.vocab_size
  config = peft.LoraConfig(lora_alpha=ALPHA, **settings)
  model = peft.get_peft_model(base, config).eval()
  rng = np.random.default_rng(SEED)
  with torch.no_grad():
    for name, weight in sorted(model.named_parameters()):
      if "lora_" in name:
        values = rng.standard_normal(tuple(weight.shape)) * 0.3
        weight.copy_(torch.from_numpy(values.astype(np.float32)))
  rows = {"inputs": rng.integers(3, vocab_size, (2, 9))}
  tokens = {"input_ids": torch.from_numpy(rows["inputs"])}
  if case == "t5":
    rows["decoder_inputs"] = rng.integers(3, vocab_size, (2, 5))
    rows["decoder_inputs"][:, 0] = 0
    tokens["decoder_input_ids"] = torch.from_numpy(rows["decoder_inputs"])
  with torch.no_grad():
    rows["logits"] = model(**tokens).logits.numpy()
  folder = FOLDER / f"peft_{case}"
  model.save_pretrained(folder)
  (folder / "README.md").unlink()
  np.savez_compressed(folder / "logits.npz", **rows)


if __name__ == "__main__":
  for each in CASES:
    record(each)
