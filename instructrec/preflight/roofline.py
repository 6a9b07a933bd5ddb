"""The least time a step can take, and the work that its model asks for."""

import dataclasses

from instructrec.models.networks import t5_config
from instructrec.preflight import chips, cost
from instructrec.preflight import launch as launch_lib


def forward_flops(
  network: t5_config.T5Config,
  *,
  rows: int,
  inputs_length: int,
  targets_length: int,
  candidates: int = 1,
) -> float:
  """FLOPs of the matrix products of one pass through the network.

  Two a weight and token, and 4 * heads * head_dim for each pair of positions
  that attend to each other, masked or not; as "model FLOPs" are counted in
  Appendix B of PaLM (Chowdhery et al., 2022), an encoder's weights with its
  inputs, a decoder's with its targets.

  Args:
    network: the sizes.
    rows: encoder inputs.
    inputs_length: positions of an input.
    targets_length: positions of a target.
    candidates: targets of an input.

  Returns:
    FLOPs of all rows together.
  """
  inputs = rows * inputs_length
  targets = rows * candidates * targets_length
  joined = network.joined_dim
  projection = network.emb_dim * joined
  mlp = (len(network.mlp_activations) + 1) * network.emb_dim * network.mlp_dim
  # An input token passes the encoder and the keys and values of the decoder's
  # attention to it; a target token self-attention, the queries and outputs of
  # that attention, and the logits.
  input_weights = network.num_encoder_layers * (4 * projection + mlp) + (
    network.num_decoder_layers * 2 * projection
  )
  target_weights = network.num_decoder_layers * (6 * projection + mlp) + (
    network.emb_dim * network.vocab_size
  )
  pairs = network.num_encoder_layers * inputs * inputs_length + (
    network.num_decoder_layers * targets * (targets_length + inputs_length)
  )
  return (
    2.0 * (inputs * input_weights + targets * target_weights)
    + 4.0 * joined * pairs
  )


def model_flops(launch: launch_lib.Launch, step: str) -> float:
  """FLOPs that a step needs, recomputation left out, over all devices.

  Args:
    launch: what is run.
    step: "train", three times the forward pass, or "score", that pass.

  Returns:
    FLOPs of the global batch.
  """
  lengths = {
    "inputs_length": launch.inputs_length,
    "targets_length": launch.targets_length,
  }
  if step == "score":
    return forward_flops(
      launch.network,
      rows=launch.score_batch_size,
      candidates=launch.num_candidates,
      **lengths,
    )
  return 3 * forward_flops(launch.network, rows=launch.batch_size, **lengths)


def tokens(launch: launch_lib.Launch, step: str) -> int:
  """Positions of inputs and targets in a step's global batch."""
  batch = launch.batch(step)
  return sum(
    batch[name].size
    for name in ("encoder_input_tokens", "decoder_target_tokens")
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
  """Least times of a step on a device, in seconds.

  Attributes:
    compute: FLOPs over the peak for bfloat16.
    memory: bytes over the memory's bandwidth.
    network: bytes sent over the bandwidth of all links.
  """

  compute: float
  memory: float
  network: float

  @property
  def seconds(self) -> float:
    """The largest: the step cannot be faster."""
    return max(self.compute, self.memory, self.network)

  @property
  def by(self) -> str:
    """Which one that is."""
    return max(
      ("compute", "memory", "network"), key=lambda name: getattr(self, name)
    )


def bounds(work: cost.Cost, chip: chips.Chip) -> Bounds:
  """The roofline of a step (Williams et al., 2009), network included.

  Args:
    work: what a device does.
    chip: what it can do.

  Returns:
    The bounds.
  """
  return Bounds(
    compute=work.flops / chip.peak_flops,
    memory=work.hbm_bytes / chip.hbm_bandwidth,
    network=work.sent_bytes / chip.ici_bandwidth,
  )
