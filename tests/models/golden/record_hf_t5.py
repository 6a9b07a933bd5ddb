"""Records what Hugging Face's T5 computes, for tests without PyTorch.

Run in an environment with torch, transformers and this package:

  python tests/models/golden/record_hf_t5.py

It rewrites the .npz files beside it: weights in T5X's layout, inputs, logits,
greedy and beam decodes. The weights are drawn here, larger than T5's own
initialisation, so that the logits are far apart and sequences come to an end.
"""

import pathlib

import numpy as np
import torch
import transformers

FOLDER = pathlib.Path(__file__).parent

CASES = {
  # Flan-T5's form: gated GELU, logits from a matrix of their own.
  "gated_untied": {
    "vocab_size": 71,
    "d_model": 32,
    "num_heads": 4,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
  },
  # T5 1.0's form, with heads that do not add up to the model's width and
  # stacks of different depth.
  "relu_tied": {
    "vocab_size": 53,
    "d_model": 24,
    "num_heads": 3,
    "d_kv": 16,
    "d_ff": 40,
    "num_layers": 3,
    "num_decoder_layers": 1,
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
  },
}
# The longer rows reach beyond the last relative position bucket.
INPUT_LENGTHS = (150, 9, 1, 40)
TARGET_LENGTHS = (140, 5, 1, 12)
MAX_DECODE_LENGTH = 10
NUM_BEAMS = 3
SEED = 6
TABLE_SCALE = 0.1
END_BOOST = 3.0


def make_model(case: str) -> transformers.T5ForConditionalGeneration:
  """A T5 with weights drawn from a fixed seed."""
  config = transformers.T5Config(
    **CASES[case],
    dropout_rate=0.0,
    decoder_start_token_id=0,
    pad_token_id=0,
    eos_token_id=1,
  )
  # Transformers 5 sets this to True whatever it is given.
  config.tie_word_embeddings = CASES[case]["tie_word_embeddings"]
  model = transformers.T5ForConditionalGeneration(config).eval()
  tied = CASES[case]["tie_word_embeddings"]
  rng = np.random.default_rng(SEED)
  with torch.no_grad():
    for name, weight in sorted(model.named_parameters()):
      values = rng.standard_normal(tuple(weight.shape))
      if weight.ndim == 1:
        values = 1.0 + 0.1 * values
        # Makes up for the small table below where it gives the logits.
        if name == "decoder.final_layer_norm.weight" and tied:
          values = values / TABLE_SCALE
      elif "shared" in name:
        # Small, or each token would foretell only itself through the residual.
        values = values * TABLE_SCALE
      elif "relative" not in name:
        values = values * weight.shape[1] ** -0.5
        # T5 does not divide attention logits by sqrt(d_kv).
        if ".q." in name:
          values = values * CASES[case]["d_kv"] ** -0.5
      weight.copy_(torch.from_numpy(values.astype(np.float32)))
    # Transformers 5 unties these together with the logits; T5 1.1 has one.
    model.encoder.embed_tokens.weight.copy_(model.shared.weight)
    model.decoder.embed_tokens.weight.copy_(model.shared.weight)
    # Makes the end token likely enough to occur.
    last = model.shared.weight if tied else model.lm_head.weight
    last[1] *= END_BOOST
  return model


def to_t5x(model: transformers.T5ForConditionalGeneration) -> dict:
  """The weights under the names, and in the layout, of T5X."""
  state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
  out = {"token_embedder/embedding": state["shared.weight"]}
  if not model.config.tie_word_embeddings:
    out["decoder/logits_dense/kernel"] = state["lm_head.weight"].T
  names = {"q": "query", "k": "key", "v": "value", "o": "out"}
  blocks = {
    "encoder": (
      ("SelfAttention", "pre_attention_layer_norm", "attention"),
      ("DenseReluDense", "pre_mlp_layer_norm", "mlp"),
    ),
    "decoder": (
      ("SelfAttention", "pre_self_attention_layer_norm", "self_attention"),
      (
        "EncDecAttention",
        "pre_cross_attention_layer_norm",
        "encoder_decoder_attention",
      ),
      ("DenseReluDense", "pre_mlp_layer_norm", "mlp"),
    ),
  }
  counts = {
    "encoder": model.config.num_layers,
    "decoder": model.config.num_decoder_layers,
  }
  for stack, parts in blocks.items():
    out[f"{stack}/{stack}_norm/scale"] = state[
      f"{stack}.final_layer_norm.weight"
    ]
    out[f"{stack}/relpos_bias/rel_embedding"] = state[
      f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    ].T
    for block in range(counts[stack]):
      for index, (theirs, norm, ours) in enumerate(parts):
        prefix = f"{stack}.block.{block}.layer.{index}"
        to = f"{stack}/layers_{block}"
        out[f"{to}/{norm}/scale"] = state[f"{prefix}.layer_norm.weight"]
        for key, value in state.items():
          if key.startswith(f"{prefix}.{theirs}.") and "relative" not in key:
            name = key.split(".")[-2]
            out[f"{to}/{ours}/{names.get(name, name)}/kernel"] = value.T
  return {k: np.ascontiguousarray(v, np.float32) for k, v in out.items()}


def make_inputs(vocab_size: int) -> dict[str, np.ndarray]:
  """Rows of several lengths, padded with 0."""
  rng = np.random.default_rng(7)

  def rows(lengths: tuple[int, ...]) -> np.ndarray:
    out = np.zeros((len(lengths), max(lengths)), np.int32)
    for row, length in zip(out, lengths, strict=True):
      row[:length] = rng.integers(2, vocab_size, length)
      row[length - 1] = 1
    return out

  return {"inputs": rows(INPUT_LENGTHS), "targets": rows(TARGET_LENGTHS)}


def _padded(ids: torch.Tensor) -> np.ndarray:
  """Decodes without the start token, to MAX_DECODE_LENGTH."""
  out = np.zeros((ids.shape[0], MAX_DECODE_LENGTH), np.int32)
  out[:, : ids.shape[1] - 1] = ids[:, 1:].numpy()
  # Beam search fills up with the end token where padding is 0.
  ended = np.cumsum(out == 1, axis=1) - (out == 1)
  return np.where(ended > 0, 0, out).astype(np.int32)


def run(case: str) -> dict[str, np.ndarray]:
  """Everything the test compares with."""
  model = make_model(case)
  arrays = make_inputs(model.config.vocab_size)
  inputs = torch.from_numpy(arrays["inputs"].astype(np.int64))
  attention_mask = (inputs != 0).long()
  targets = torch.from_numpy(arrays["targets"].astype(np.int64))
  decoder_inputs = torch.zeros_like(targets)
  decoder_inputs[:, 1:] = targets[:, :-1]
  with torch.no_grad():
    logits = model(
      input_ids=inputs,
      attention_mask=attention_mask,
      decoder_input_ids=decoder_inputs,
    ).logits.numpy()
    settings = {
      "input_ids": inputs,
      "attention_mask": attention_mask,
      "max_new_tokens": MAX_DECODE_LENGTH,
      "do_sample": False,
    }
    greedy = model.generate(**settings)
    beams = model.generate(
      **settings, num_beams=NUM_BEAMS, length_penalty=0.0, early_stopping=False
    )
  mask = arrays["targets"] != 0
  arrays["logits"] = logits[mask].astype(np.float32)
  arrays["greedy"] = _padded(greedy)
  arrays["beams"] = _padded(beams)
  arrays.update({f"params/{k}": v for k, v in to_t5x(model).items()})
  return arrays


def main() -> None:
  """Writes one file a case."""
  for case in CASES:
    arrays = run(case)
    path = FOLDER / f"hf_t5_{case}.npz"
    np.savez_compressed(path, **arrays)
    print(path, path.stat().st_size)
    print("greedy\n", arrays["greedy"], "\nbeams\n", arrays["beams"])


if __name__ == "__main__":
  main()
