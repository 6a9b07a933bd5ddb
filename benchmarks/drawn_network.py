"""A network of the sizes that the command line names, with drawn weights."""

import argparse
from typing import Any

import jax

from instructrec.models import ranking_model
from instructrec.models.networks import t5_config


def add_arguments(
  parser: argparse.ArgumentParser,
  *,
  emb_dim: int,
  num_heads: int,
  mlp_dim: int,
  num_layers: int | None = None,
  vocab_size: int = 32128,
) -> None:
  """Adds the sizes to a command line, with these defaults.

  `num_layers` None leaves that option to the caller.
  """
  for name, default in (
    ("vocab_size", vocab_size),
    ("emb_dim", emb_dim),
    ("num_heads", num_heads),
    ("head_dim", 64),
    ("mlp_dim", mlp_dim),
  ):
    parser.add_argument(f"--{name}", type=int, default=default)
  if num_layers is not None:
    parser.add_argument(
      "--num_layers", type=int, default=num_layers, help="of each stack"
    )


def config(args: argparse.Namespace) -> t5_config.T5Config:
  """The network of a command line, without dropout."""
  return t5_config.T5Config(
    vocab_size=args.vocab_size,
    emb_dim=args.emb_dim,
    num_heads=args.num_heads,
    head_dim=args.head_dim,
    mlp_dim=args.mlp_dim,
    num_encoder_layers=args.num_layers,
    num_decoder_layers=args.num_layers,
    dropout_rate=0.0,
  )


def params(model: ranking_model.NetworkRankingModel, seed: int) -> Any:
  """Its parameters by seed."""
  shapes = {"encoder_input_tokens": (1, 8), "decoder_input_tokens": (1, 8)}
  draw = jax.jit(lambda rng: model.get_initial_variables(rng, shapes)["params"])
  return draw(jax.random.key(seed))
