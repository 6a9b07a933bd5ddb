"""Reranks candidate lists with a trained run and its baselines."""

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from instructrec.data import dataset, request
from instructrec.evaluation import following as following_lib
from instructrec.evaluation import results
from instructrec.instructions import chat_client, domains, templates
from instructrec.models import tokenizer
from instructrec.models.scoring import candidate_scores
from instructrec.pipelines import (
  blocks,
  chat_rows,
  following,
  generate,
  rank_table,
  registry,
  token_cache,
  vocabulary,
  weighted_rows,
)
from instructrec.retrieval import (
  candidate_lists,
  popularity,
  random_ranker,
  retriever,
  run_weights,
  tournament,
)
from instructrec.serving import catalog_ranker, model_parts
from instructrec.training import run_dir, scoring

MODEL, UNTRAINED = "trained model", "untrained model"
_MODEL_IS = "log-likelihood of the candidate's title given the instruction"
Protocol = Literal["one_pass", "tournament"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
Scores = Float[np.ndarray, "requests candidates"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """Which requests to rerank, and with what.

  Attributes:
    run: the trained run; its mesh says which devices score.
    prepared: the logs behind the instructions, for the baselines.
    tfds_data_dir: the instructions.
    split: "validation" or "test".
    step: which checkpoint; None for the newest.
    checkpoint: where the parameters are, if not in the run; of any form that
      `instructrec checkpoint` reads.
    task_types: which evaluation tasks: such as "sequential_p1_i0", or
      "sequential" for all that begin so; empty for all.
    num_requests: how many requests a task, drawn by `seed`; None for all.
    lists: candidates to rank; only requests that have a list are evaluated.
      None for the frozen ones.
    validation_lists: lists of validation requests that were made as `lists`:
      they fit the weights of the model's parts and of the scores that their
      retriever gave. None for the frozen ones.
    retrievers: fitted ones by name, as further rows.
    normalizations: "sum", "mean" or both, whose likelihoods are rows of their
      own; empty for the model's own, where the model ranks by nothing else.
    num_validation: validation requests a task that fit the weights of the
      model's score parts; 0 fits none and takes those of the run's folder, or
      what the parts counted in training.
    protocols: "one_pass" over all candidates, "tournament", or both.
    chat: a chat model as a further row; None for none.
    tell: shows a line, such as what the chat model will take.
    num_orders: how often methods that read or group whole lists are asked,
      each time with the candidates in another order; their figures are those
      of the first.
    batch_size: requests scored at once.
    seed: of the subset, the random baseline, tournaments, the order in which
      a chat model reads candidates, and the bootstrap.
    num_histories: histories that following is measured on, with wishes of
      held-out wordings; 0 for none. Only runs that match titles can.
    sections: lines of the report on what each part of the score adds; filled
      by a call.
  """

  run: run_dir.Run
  prepared: dataset.PreparedData
  tfds_data_dir: pathlib.Path
  split: str = "test"
  step: int | None = None
  checkpoint: str | None = None
  task_types: Sequence[str] = ()
  num_requests: int | None = None
  lists: candidate_lists.CandidateLists | None = None
  validation_lists: candidate_lists.CandidateLists | None = None
  retrievers: Mapping[str, retriever.Retriever] = dataclasses.field(
    default_factory=dict
  )
  normalizations: Sequence[str] = ()
  num_validation: int = 0
  protocols: Sequence[str] = ("one_pass",)
  chat: chat_client.ChatConfig | None = None
  tell: Callable[[str], None] = print
  num_orders: int = 1
  batch_size: int = 32
  seed: int = 0
  num_histories: int = 0
  sections: list[str] = dataclasses.field(default_factory=list)

  def __post_init__(self) -> None:
    """Checks the lists and the protocols.

    Raises:
      ValueError: where they do not fit each other.
    """
    if unknown := set(self.protocols) - set(PROTOCOLS):
      raise ValueError(
        f"unknown protocols {sorted(unknown)}; expected some of {PROTOCOLS}"
      )
    for name in self.normalizations:
      candidate_scores.check_normalization(name)
    if self.num_orders < 1:
      raise ValueError(f"num_orders is {self.num_orders}; expected 1 or more")
    if not self.protocols:
      raise ValueError(f"no protocol; expected some of {PROTOCOLS}")
    if self.lists is not None and self.lists.manifest["split"] != self.split:
      raise ValueError(
        f"the candidate lists are of the split "
        f"{self.lists.manifest['split']!r}, the evaluation of {self.split!r}"
      )
    if self.validation_lists is not None:
      self._check_validation_lists(self.validation_lists)
    if self.num_validation and self.split == "validation":
      raise ValueError(
        f"num_validation is {self.num_validation}: score weights would be "
        "fitted on the requests that are evaluated; evaluate the split 'test', "
        "or fit none with --num_validation=0"
      )

  def _check_validation_lists(
    self, found: candidate_lists.CandidateLists
  ) -> None:
    if self.lists is None:
      raise ValueError(
        "validation lists fit weights for other lists than the frozen ones; "
        "pass those as --candidates"
      )
    if self.split == "validation":
      raise ValueError(
        "validation lists fit weights on the requests that are evaluated; "
        "evaluate the split 'test', or leave them out"
      )
    same = ("protocol", "num_candidates", "retriever")
    differ = [k for k in same if found.manifest[k] != self.lists.manifest[k]]
    if found.manifest["split"] != "validation" or differ:
      raise ValueError(
        f"the validation lists are of the split {found.manifest['split']!r} "
        f"and differ from the others in {differ or 'nothing else'}; expected "
        "lists of the split 'validation' that were made as the others"
      )
    if not self.num_validation:
      raise ValueError(
        "num_validation is 0, so that nothing is fitted on the validation "
        "lists; leave out --num_validation=0 or --validation_candidates"
      )

  def _tasks(self) -> list[str]:
    for module in self.run.data.modules:
      importlib.import_module(module)
    every = token_cache.mixture_rates(self.run.data.eval_mixture)
    # Other wordings may be of some tasks alone; see `generate --eval_template`.
    names = [
      name
      for name in every
      if token_cache.has_split(name, self.split, self.tfds_data_dir)
    ]
    groups = {self._group(name): name for name in names or every}
    found = {
      wanted: [
        group for group in groups if f"{group}_".startswith(f"{wanted}_")
      ]
      for wanted in self.task_types or groups
    }
    if unknown := sorted(wanted for wanted in found if not found[wanted]):
      raise ValueError(
        f"unknown task types {unknown}; {self.run.data.eval_mixture} has "
        f"{sorted(groups)}"
      )
    chosen = [group for matches in found.values() for group in matches]
    return [groups[group] for group in dict.fromkeys(chosen)]

  def _group(self, task_name: str) -> str:
    """A task's name without what all names of the mixture share."""
    name = task_name.removesuffix(registry.RERANK)
    mixture = self.run.data.eval_mixture.removesuffix(registry.RERANK)
    return name.removeprefix(f"{mixture}_")

  @functools.cached_property
  def _titles(self) -> blocks.Titles:
    return blocks.Titles.encode(self.prepared.catalog, self.run.tokenizer)

  @property
  def _untrained_is(self) -> str:
    if self.run.train.initial_embeddings == "random":
      return "the same network with the parameters it began with"
    return "the same network with random parameters, embeddings too"

  @functools.cached_property
  def _baselines(self) -> dict[str, retriever.Retriever]:
    log, items = self.prepared.split.training_log, self.prepared.catalog
    found = (popularity.Popularity(), random_ranker.Random(self.seed))
    return {
      **{baseline.name: baseline.fit(log, items) for baseline in found},
      **self.retrievers,
    }

  def _blocks(
    self,
    name: str,
    split: str,
    lists: candidate_lists.CandidateLists | None,
    num_requests: int | None,
  ) -> Iterator[blocks.Block]:
    """The chosen requests of a task."""
    data = token_cache.load(name, split, self.tfds_data_dir)
    examples = blocks.select(data, lists, num_requests, self.seed)
    exchange = None if lists is None else blocks.Exchange(lists, self._titles)
    yield from blocks.blocks(data, examples, self.prepared, exchange=exchange)

  def __call__(self) -> list[results.EvaluationResult]:
    """Scores every task type.

    Returns:
      One result a task type; two where lists may lack the target: over all
      requests, and over those whose target was retrieved.

    Raises:
      FileNotFoundError: where instructions or checkpoint are missing.
      ValueError: where the instructions have another vocabulary, or no
        request has a list.
    """
    model_file = self.tfds_data_dir.absolute() / generate.VOCABULARY
    theirs, own = tokenizer.fingerprint(model_file), self.run.tokenizer
    if theirs != own.fingerprint():
      raise ValueError(
        f"the vocabulary of {self.tfds_data_dir} is {theirs}, that of the run "
        f"{own.fingerprint()}; generate the instructions with "
        f"--vocabulary={own.path}"
      )
    os.environ[vocabulary.ENVIRONMENT_VARIABLE] = str(model_file)
    untrained = self.run.initial_params()
    weighted = self._weighted()
    with self._chat_rows() as chat:
      found = [
        result
        for name in self._tasks()
        for result in self._task(name, untrained, weighted, chat)
      ]
    if not found:
      raise ValueError(
        f"no request of the {self.split} split of {self._tasks()} has a "
        "candidate list; make the lists from the data of the instructions"
      )
    return found

  @contextlib.contextmanager
  def _chat_rows(self) -> Iterator[chat_rows.ChatRows | None]:
    """The chat model's rows, once what they take is said; None for none."""
    if self.chat is None:
      yield None
      return
    chat = chat_rows.ChatRows(
      self.chat,
      self.prepared.catalog,
      self.run.tokenizer,
      self.protocols,
      self._seeds,
    )
    every = (
      block
      for name in self._tasks()
      for block in self._blocks(name, self.split, self.lists, self.num_requests)
    )
    with chat.within_budget(every, self.tell):
      yield chat

  def _task(
    self,
    name: str,
    untrained: Any,
    weighted: weighted_rows.WeightedRows,
    chat: chat_rows.ChatRows | None,
  ) -> list[results.EvaluationResult]:
    group = self._group(name)
    begun = self._parts(untrained)
    if chat is not None:
      chat.start_task()
    table = rank_table.RankTable(
      len(self.prepared.catalog),
      self.prepared.split.training_log,
      self.seed,
    )
    for block in self._blocks(name, self.split, self.lists, self.num_requests):
      described = self._model_scores(block, weighted)
      models = {row: scores for row, (scores, _) in described.items()}
      if "one_pass" in self.protocols:
        for row, (scores, text) in described.items():
          table.add(block, row, scores, text)
        for row, scores, text in weighted.beside(block):
          table.add(block, row, scores, text)
      if "tournament" in self.protocols:
        for row, scores in models.items():
          self._add_tournament(table, row, block, scores)
      table.add(block, UNTRAINED, begun.trained_part(block), self._untrained_is)
      for row, baseline in self._baselines.items():
        scores = baseline.score(block.requests)
        table.add(block, row, scores, baseline.description)
      self._add_retriever(table, block)
      if chat is not None:
        for asked in chat.rows(block):
          table.add_orders(block, *asked)
      table.end(block)
    self.sections.extend(weighted.ablation(group))
    lists = self.lists
    if lists is not None and lists.manifest["protocol"] == "retrieved":
      return table.by_retrieval(group, _order(lists.retriever))
    return table.overall(group)

  def _add_tournament(
    self,
    table: rank_table.RankTable,
    row: str,
    block: blocks.Block,
    scores: Scores,
  ) -> None:
    inner = tournament.Pointwise(row, block.requests, scores)
    every = [tournament.Tournament(inner, seed=seed) for seed in self._seeds]
    places = [games.score(block.requests) for games in every]
    games = every[0]
    table.add_orders(
      block,
      games.name,
      places,
      f"groups of {games.group_size} by seed, their winners ranked again; what "
      "went out is tied behind; lists ranked for a request: "
      f"{games.num_lists / len(block.requests):g}",
    )

  def _add_retriever(
    self, table: rank_table.RankTable, block: blocks.Block
  ) -> None:
    """The lists in the order of the retriever that made them."""
    if block.retriever_scores is None or self.lists is None:
      return
    table.add(
      block,
      _order(self.lists.retriever),
      block.retriever_scores,
      "the scores that the retriever gave its own lists",
    )

  @property
  def _seeds(self) -> range:
    """Of the orders in which lists are read and grouped."""
    return range(self.seed, self.seed + self.num_orders)

  @property
  def _names(self) -> tuple[str, ...]:
    own = self.run.train.model.score_normalization
    return tuple(dict.fromkeys(self.normalizations)) or (own,)

  @functools.cached_property
  def _template_set(self) -> templates.TemplateSet:
    """In the words of the instructions' domain."""
    domain = self._manifest.get("domain", domains.Domain.PRODUCTS.value)
    return templates.load().reworded(domains.Domain(domain))

  @functools.cached_property
  def _manifest(self) -> dict[str, Any]:
    path = self.tfds_data_dir / generate.MANIFEST
    found: dict[str, Any] = json.loads(path.read_text())
    return found

  def _parts(self, params: Any) -> model_parts.ModelParts:
    return model_parts.ModelParts(
      self.run,
      params,
      self.prepared,
      self._template_set,
      batch_size=self.batch_size,
    )

  def following(self) -> following_lib.Following | None:
    """How far the run follows wishes, by the weights that lie beside it.

    Returns:
      The figures; None where none are asked for, the run cannot rank whole
      catalogues under other wishes, or these have nothing to wish for.
    """
    parts = self._trained_parts
    if not self.num_histories or parts.matcher is None:
      return None
    ranker = catalog_ranker.CatalogRanker(
      parts, run_weights.RunWeights.load(self.run.directory, parts.untuned)
    )
    frame = self.prepared.requests.read(self.split)
    # One of each user: others share most of their history.
    chosen = request.from_frame(frame.filter("newest"))
    try:
      return following.evaluate(
        self.prepared.catalog,
        [one.history for one in chosen],
        ranker.score_catalog,
        attributes=parts.attributes,
        lists=following.Lists(
          [one.candidates for one in chosen],
          [str(one.target) for one in chosen],
        ),
        num_histories=self.num_histories,
        seed=self.seed,
      )
    except following.NothingToWishForError as error:
      self.tell(f"following wishes is not measured: {error}")
      return None

  @functools.cached_property
  def _trained(self) -> tuple[Any, int | None]:
    """The parameters to evaluate, and their step where they are the run's."""
    if self.checkpoint is None:
      return self.run.params(self.step)
    return self.run.params_from(self.checkpoint, self.step), None

  @functools.cached_property
  def _trained_parts(self) -> model_parts.ModelParts:
    """With vectors, priors and attributes, which are made once."""
    return self._parts(self._trained[0])

  def _weighted(self) -> weighted_rows.WeightedRows:
    """The model's score with its weights, fitted where that is asked for."""
    lists = self.validation_lists
    found = weighted_rows.WeightedRows(
      self._trained_parts,
      MODEL,
      self.retrievers,
      None if lists is None else lists.retriever,
      self.seed,
    )
    if not self.num_validation:
      found.load(self.run.directory)
      return found
    found.fit(
      {
        name: self._blocks(
          name, "validation", self.validation_lists, self.num_validation
        )
        for name in self._tasks()
        if token_cache.has_split(name, "validation", self.tfds_data_dir)
      }
    )
    if lists is not None and not found.weights.by_kind:
      raise ValueError(
        f"no validation request of {self._tasks()} has one of the validation "
        "lists; make them from the data of the instructions"
      )
    # Those of other lists, parameters or instructions are not the run's.
    own = pathlib.Path(self.run.record["tfds_data_dir"]).resolve()
    others = self.checkpoint, self.lists, self.step
    if others == (None, None, None) and self.tfds_data_dir.resolve() == own:
      found.save(self.run.directory, self._trained[1])
    return found

  def _model_scores(
    self, block: blocks.Block, weighted: weighted_rows.WeightedRows
  ) -> dict[str, tuple[Scores, str]]:
    """The trained model's scores with what they are, by name of the row."""
    found = {}
    if weighted.is_weighted:
      found[MODEL] = weighted.model(block)
      if not self.normalizations:
        return found
    label = "likelihood" if found else MODEL
    likelihoods = scoring.score_lists(
      self.run.train.model,
      weighted.parts.params,
      block.tokens,
      block.examples,
      inputs_length=self.run.data.inputs_length,
      targets_length=self.run.data.targets_length,
      normalizations=self._names,
      batch_size=self.batch_size,
      mesh_config=self.run.mesh,
      items=weighted.parts.items,
      label=MODEL,
    )
    for name, scores in likelihoods.items():
      row = label if len(likelihoods) == 1 else f"{label} ({name})"
      found[row] = (scores, _MODEL_IS)
    return found


def _order(name: str | None) -> str:
  """What the row of a retriever's own order is called."""
  return f"{name}'s order"
