"""What a model writes: any text, items of a catalogue, or lists of them."""

import copy
import dataclasses
from typing import Any, Self

from jaxtyping import Array, Float, Int, PRNGKeyArray

from instructrec.models import protocol
from instructrec.models.generation import (
  catalog_decoder,
  catalog_trie,
  catalog_walk,
  generation,
  leaf_intervals,
  list_decoder,
  list_policy,
)
from instructrec.models.networks import network, network_model

Decoder = catalog_decoder.CatalogDecoder | list_decoder.ListDecoder


class WritingModel(network_model.NetworkModel):
  """A network that writes, by a decoder of a catalogue or freely.

  Attributes:
    decoder: writes items of a catalogue alone, or lists of them; None writes
      any text.
    score_normalization: of the scores of items; see `candidate_scores`.
  """

  def __init__(
    self,
    module: network.Network,
    config: generation.GenerationConfig,
    decoder: Decoder | None,
    score_normalization: str,
  ) -> None:
    """Takes the network and how it writes.

    Args:
      module: the network.
      config: how any text is written.
      decoder: see the class.
      score_normalization: likewise.
    """
    super().__init__(module)
    self._generation = config
    self.decoder = decoder
    self.score_normalization = score_normalization

  def predict_batch_with_aux(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    rng: PRNGKeyArray | None = None,
  ) -> tuple[Int[Array, "..."], dict[str, Float[Array, "..."]]]:
    """Generates targets: of any text, or with a `decoder` of a catalogue.

    Args:
      params: parameters.
      batch: needs encoder_input_tokens, unpacked.
      rng: read by a decoder that draws.

    Returns:
      Token ids with the end token, then 0; and {"scores": log-probabilities
      in nats}, with "beam_scores", what the order goes by, but for lists;
      with a decoder "items" as well, their numbers, and of lists "item_scores",
      the log-probability of each item. Without a decodes axis if num_decodes is
      1 ([batch, length] and [batch]), else best first ([batch, decodes, length]
      and [batch, decodes]); what a list has of items has a last axis for them.
    """
    found: Any
    if self.decoder is None:
      found = generation.generate(self.module, params, batch, self._generation)
      sequences = found.sequences
      aux = {"scores": found.log_probs, "beam_scores": found.scores}
    else:
      trie = self.decoder.own_catalog(
        vocab_size=self.vocab_size, eos_id=self.network_config.eos_id
      )
      if isinstance(self.decoder, list_decoder.ListDecoder):
        found = self.predict_lists(params, batch, trie, rng)
        sequences = found.tokens
        aux = {
          "scores": found.log_probs.sum(axis=-1),
          "item_scores": found.log_probs,
        }
      else:
        found = self.predict_items(params, batch, trie, rng)
        sequences = trie.sequences(found.items)
        aux = {"scores": found.log_probs, "beam_scores": found.scores}
      aux["items"] = found.items
    num_decodes = (self.decoder or self._generation).num_decodes
    kept = 0 if num_decodes == 1 else slice(num_decodes)
    return sequences[:, kept], {k: v[:, kept] for k, v in aux.items()}

  def predict_items(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    trie: catalog_trie.CatalogTrie,
    rng: PRNGKeyArray | None = None,
    conditions: leaf_intervals.Conditions = leaf_intervals.ANYTHING,
  ) -> catalog_walk.CatalogDecodes:
    """Items of a catalogue by their titles, as the model's decoder says.

    The trie is an argument of the compiled program: a catalogue of about the
    same size needs no other one.

    Args:
      params: parameters.
      batch: needs encoder_input_tokens, unpacked.
      trie: the catalogue.
      rng: read by a decoder that draws.
      conditions: what requests say of items.

    Returns:
      The items, with `score_normalization` in their scores.

    Raises:
      ValueError: where the model's decoder writes lists.
    """
    decoder = self.decoder or catalog_decoder.CatalogDecoder()
    if not isinstance(decoder, catalog_decoder.CatalogDecoder):
      raise ValueError("the model's decoder writes lists; call predict_lists")
    reading = self._reading(params, batch)
    return decoder(
      reading,
      trie,
      normalization=self.score_normalization,
      rng=rng,
      conditions=conditions,
    )

  def predict_lists(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    trie: catalog_trie.CatalogTrie,
    rng: PRNGKeyArray | None = None,
    requests: list_policy.ListRequests | None = None,
  ) -> list_policy.TitleLists:
    """Lists of titles, as the model's decoder says; see `predict_items`.

    Args:
      params: parameters.
      batch: needs encoder_input_tokens, unpacked.
      trie: the catalogue.
      rng: read by a decoder that draws.
      requests: what is asked; see `ListDecoder.__call__`.

    Returns:
      The lists.

    Raises:
      ValueError: where the model's decoder writes none.
    """
    if not isinstance(self.decoder, list_decoder.ListDecoder):
      raise ValueError(
        "the model has no decoder of lists; build it with "
        "decoder=list_decoder.ListDecoder(...)"
      )
    reading = self._reading(params, batch)
    return self.decoder(reading, trie, rng=rng, requests=requests)

  def writing(
    self, catalog: catalog_trie.CatalogTrie | catalog_decoder.CatalogSource
  ) -> Self:
    """The model, its decoder with a catalogue for `predict_batch`.

    Args:
      catalog: see `CatalogDecoder`.

    Returns:
      A copy; with the usual decoder where the model has none.
    """
    model = copy.copy(self)
    decoder = self.decoder or catalog_decoder.CatalogDecoder()
    model.decoder = dataclasses.replace(decoder, catalog=catalog)
    return model

  def predict_batch(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    rng: PRNGKeyArray | None = None,
  ) -> Int[Array, "..."]:
    """The token ids of `predict_batch_with_aux`."""
    return self.predict_batch_with_aux(params, batch, rng)[0]
