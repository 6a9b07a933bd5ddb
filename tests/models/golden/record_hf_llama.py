"""Records what Hugging Face's LLaMA computes, for tests without PyTorch.

Run in an environment with torch and transformers:

  python tests/models/golden/record_hf_llama.py

It rewrites the .npz files beside it: weights in our layout, prompts, answers,
logits of the answers, greedy and beam decodes. The weights are drawn here,
larger than LLaMA's own initialisation, so that the logits are far apart and
sequences come to an end.
"""

import pathlib

import numpy as np
import torch
import transformers

FOLDER = pathlib.Path(__file__).parent

CASES = {
  # As Llama 2 and 3: groups of queries, logits from a matrix of their own.
  "grouped": {
    "vocab_size": 71,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-5,
  },
  # As Llama 3.2's small ones, with heads that do not add up to the width.
  "tied": {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "head_dim": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
  },
  # As Llama 3.1: slower turns for a longer context. The rows are longer than
  # the original one.
  "scaled": {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
    "rope_scaling": {
      "rope_type": "llama3",
      "factor": 4.0,
      "low_freq_factor": 1.0,
      "high_freq_factor": 4.0,
      "original_max_position_embeddings": 40,
    },
  },
}
PROMPT_LENGTHS = (90, 9, 1, 40)
ANSWER_LENGTHS = (12, 5, 1, 12)
MAX_DECODE_LENGTH = 10
NUM_BEAMS = 3
END = 2
SEED = 8
TABLE_SCALE = 0.03
END_BOOST = 2.5


def make_model(case: str) -> transformers.LlamaForCausalLM:
  """A LLaMA with weights drawn from a fixed seed."""
  config = transformers.LlamaConfig(
    **CASES[case],
    max_position_embeddings=160,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=END,
  )
  model = transformers.LlamaForCausalLM(config).eval()
  tied = CASES[case]["tie_word_embeddings"]
  rng = np.random.default_rng(SEED)
  with torch.no_grad():
    for name, weight in sorted(model.named_parameters()):
      values = rng.standard_normal(tuple(weight.shape))
      if weight.ndim == 1:
        values = 1.0 + 0.1 * values
        # Makes up for the small table below where it gives the logits.
        if name == "model.norm.weight" and tied:
          values = values / TABLE_SCALE * CASES[case]["hidden_size"] ** -0.5
      elif "embed_tokens" in name:
        # Small, or each token would foretell only itself through the residual.
        values = values * TABLE_SCALE
      else:
        values = values * weight.shape[1] ** -0.5
      weight.copy_(torch.from_numpy(values.astype(np.float32)))
    # Makes the end token likely enough to occur.
    last = model.model.embed_tokens if tied else model.lm_head
    last.weight[END] *= END_BOOST
  return model


def to_ours(model: transformers.LlamaForCausalLM) -> dict:
  """The weights under our names, and in our layout."""
  state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
  out = {
    "token_embedder/embedding": state["model.embed_tokens.weight"],
    "decoder/decoder_norm/scale": state["model.norm.weight"],
  }
  if not model.config.tie_word_embeddings:
    out["decoder/logits_dense/kernel"] = state["lm_head.weight"].T
  norms = {
    "input_layernorm": "pre_self_attention_layer_norm",
    "post_attention_layernorm": "pre_mlp_layer_norm",
  }
  kernels = {
    "self_attn.q_proj": "self_attention/query",
    "self_attn.k_proj": "self_attention/key",
    "self_attn.v_proj": "self_attention/value",
    "self_attn.o_proj": "self_attention/out",
    "mlp.gate_proj": "mlp/wi_0",
    "mlp.up_proj": "mlp/wi_1",
    "mlp.down_proj": "mlp/wo",
  }
  for index in range(model.config.num_hidden_layers):
    theirs, ours = f"model.layers.{index}", f"decoder/layers_{index}"
    for name, norm in norms.items():
      out[f"{ours}/{norm}/scale"] = state[f"{theirs}.{name}.weight"]
    for name, kernel in kernels.items():
      out[f"{ours}/{kernel}/kernel"] = state[f"{theirs}.{name}.weight"].T
  return {k: np.ascontiguousarray(v, np.float32) for k, v in out.items()}


def make_rows(vocab_size: int) -> dict[str, np.ndarray]:
  """Prompts that begin with 1, and answers; padded with 0."""
  rng = np.random.default_rng(7)

  def rows(lengths: tuple[int, ...]) -> np.ndarray:
    out = np.zeros((len(lengths), max(lengths)), np.int32)
    for row, length in zip(out, lengths, strict=True):
      row[:length] = rng.integers(3, vocab_size, length)
    return out

  prompts, answers = rows(PROMPT_LENGTHS), rows(ANSWER_LENGTHS)
  prompts[:, 0] = 1
  for row, length in zip(answers, ANSWER_LENGTHS, strict=True):
    row[length - 1] = END
  return {"inputs": prompts, "targets": answers}


def _padded(ids: np.ndarray) -> np.ndarray:
  """A decode, to MAX_DECODE_LENGTH, with 0 behind its end."""
  out = np.zeros(MAX_DECODE_LENGTH, np.int32)
  out[: len(ids)] = ids
  ended = np.cumsum(out == END) - (out == END)
  return np.where(ended > 0, 0, out).astype(np.int32)


def run(case: str) -> dict[str, np.ndarray]:
  """Everything the test compares with; a row alone, so that none is padded."""
  model = make_model(case)
  arrays = make_rows(model.config.vocab_size)
  found: dict[str, list[np.ndarray]] = {"logits": [], "greedy": [], "beams": []}
  settings = {"max_new_tokens": MAX_DECODE_LENGTH, "do_sample": False}
  for prompt, answer in zip(arrays["inputs"], arrays["targets"], strict=True):
    prompt, answer = (x[x != 0].astype(np.int64) for x in (prompt, answer))
    row = torch.from_numpy(np.concatenate([prompt, answer]))[None]
    begin = torch.from_numpy(prompt)[None]
    with torch.no_grad():
      logits = model(input_ids=row).logits[0].numpy()
      greedy = model.generate(input_ids=begin, **settings)
      beams = model.generate(
        input_ids=begin,
        **settings,
        num_beams=NUM_BEAMS,
        length_penalty=0.0,
        early_stopping=False,
      )
    # Position t predicts the token behind it.
    found["logits"].append(logits[len(prompt) - 1 : -1])
    for name, ids in (("greedy", greedy), ("beams", beams)):
      found[name].append(_padded(ids[0, len(prompt) :].numpy()))
  arrays["logits"] = np.concatenate(found["logits"]).astype(np.float32)
  arrays |= {name: np.stack(found[name]) for name in ("greedy", "beams")}
  arrays |= {f"params/{k}": v for k, v in to_ours(model).items()}
  return arrays


def main() -> None:
  """Writes one file a case."""
  for case in CASES:
    arrays = run(case)
    path = FOLDER / f"hf_llama_{case}.npz"
    np.savez_compressed(path, **arrays)
    print(path, path.stat().st_size)
    print("greedy\n", arrays["greedy"], "\nbeams\n", arrays["beams"])


if __name__ == "__main__":
  main()
