"""Reranks candidate lists with a trained run and its baselines."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from instructrec import checkpoint_steps
from instructrec.data import request
from instructrec.evaluation import examples as examples_lib
from instructrec.evaluation import following as following_lib
from instructrec.evaluation import published, results
from instructrec.models import tokenizer
from instructrec.models.checkpoint import opening
from instructrec.models.scoring import candidate_scores
from instructrec.pipelines import (
  blocks,
  chat_rows,
  control_evaluation,
  evaluation_tasks,
  following,
  rank_table,
  reranking_rows,
  weighted_rows,
  written_rows,
)
from instructrec.retrieval import candidate_lists, retriever
from instructrec.retrieval.methods import popularity, random_ranker
from instructrec.serving import instruction_folder, model_parts, opened_run
from instructrec.settings import evaluation
from instructrec.training import trained_run


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reranking:
  """An evaluation whose folders and files are open.

  Attributes:
    settings: which requests are ranked, and how.
    run: the trained run; its mesh says which devices score.
    instructions: where the requests are.
    lists: candidates to rank; only requests that have a list are evaluated.
      None for the frozen ones.
    validation_lists: lists of validation requests that were made as `lists`:
      they fit the weights of the model's parts and of the scores that their
      retriever gave. None for the frozen ones.
    retrievers: fitted ones by name, as further rows.
    tell: shows a line, such as what the chat model will take.
    sections: lines of the report on what each part of the score adds; filled
      by a call, as are `figures` and `examples`.
    figures: what their tables show, as data.
    examples: some requests with what was ranked first, by group.
  """

  settings: evaluation.EvaluationSettings
  run: trained_run.Run
  instructions: instruction_folder.InstructionFolder
  lists: candidate_lists.CandidateLists | None = None
  validation_lists: candidate_lists.CandidateLists | None = None
  retrievers: Mapping[str, retriever.Retriever] = dataclasses.field(
    default_factory=dict
  )
  tell: Callable[[str], None] = print
  sections: list[str] = dataclasses.field(default_factory=list)
  figures: list[published.Table] = dataclasses.field(default_factory=list)
  examples: dict[str, list[examples_lib.Example]] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self) -> None:
    """Checks the lists against each other and the vocabularies.

    Raises:
      ValueError: where they do not fit.
    """
    for name in self.settings.score_normalizations:
      candidate_scores.check_normalization(name)
    split = self.settings.split
    if self.lists is not None and self.lists.manifest["split"] != split:
      raise ValueError(
        f"the candidate lists are of the split "
        f"{self.lists.manifest['split']!r}, the evaluation of {split!r}"
      )
    if self.validation_lists is not None:
      self._check_validation_lists(self.validation_lists)
    # Whoever opened a run that does not say its vocabulary did.
    if self.instructions.trained(self.run) is None:
      return
    theirs = tokenizer.fingerprint(self.instructions.vocabulary)
    own = self.run.tokenizer
    if theirs != own.fingerprint():
      raise ValueError(
        f"the vocabulary of {self.instructions.directory} is {theirs}, that of "
        f"the run {own.fingerprint()}; generate the instructions with "
        f"--vocabulary={own.path}"
      )

  def _check_validation_lists(
    self, found: candidate_lists.CandidateLists
  ) -> None:
    if self.lists is None:
      raise ValueError(
        "validation lists fit weights for other lists than the frozen ones; "
        "pass those as --candidates"
      )
    if self.settings.split == "validation":
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
    if not self.settings.num_fitted_on:
      raise ValueError(
        "num_validation is 0, so that nothing is fitted on the validation "
        "lists; leave out --num_validation=0 or --validation_candidates"
      )

  @property
  def normalizations(self) -> tuple[str, ...]:
    """How the likelihoods of the report are normalised."""
    own = (self.run.model.score_normalization,)
    return self.settings.score_normalizations or own

  @functools.cached_property
  def _tasks(self) -> evaluation_tasks.EvaluationTasks:
    return evaluation_tasks.EvaluationTasks(
      self.run,
      self.instructions,
      self.settings.split,
      self.settings.task_types,
      self.settings.seed,
    )

  def __call__(self) -> list[results.EvaluationResult]:
    """Scores every task type.

    Returns:
      One result a task type; two where lists may lack the target: over all
      requests, and over those whose target was retrieved.

    Raises:
      FileNotFoundError: where instructions or checkpoint are missing.
      ValueError: where no request has a list.
    """
    os.environ[tokenizer.ENVIRONMENT_VARIABLE] = str(self.run.tokenizer.path)
    begun = self.run.initial_params()
    untrained = None if begun is None else self._parts(begun)
    weighted = self._weighted()
    with self._chat_rows() as chat:
      rows = reranking_rows.RerankingRows(
        self.settings,
        self.run,
        weighted,
        untrained,
        self._others,
        None if self.lists is None else self.lists.retriever,
        chat,
      )
      found = [
        result
        for name in self._tasks.names
        for result in self._task(name, rows)
      ]
    if self.settings.num_beams:
      found += self._written(weighted)
    if self.settings.teacher is not None:
      opened, _ = self._trained
      counted = self._others[popularity.Popularity.name]
      asked = control_evaluation.ControlEvaluation.of(
        opened, self.instructions, self.settings, counted
      )
      lines, figures = asked.sections()
      self.sections.extend(lines)
      self.figures.extend(figures)
    if not found:
      raise ValueError(
        f"no request of the {self.settings.split} split of {self._tasks.names} "
        "has a candidate list; make the lists from the data of the instructions"
      )
    return found

  def _task(
    self, name: str, rows: reranking_rows.RerankingRows
  ) -> list[results.EvaluationResult]:
    if rows.chat is not None:
      rows.chat.start_task()
    prepared, group = self.instructions.prepared, self._tasks.group(name)
    table = rank_table.RankTable(
      len(prepared.catalog),
      prepared.split.training_log,
      self.settings.seed,
      self.settings.metrics,
    )
    told: dict[str, examples_lib.Request] = {}
    for block in self._tasks.blocks(
      name, self.settings.split, self.lists, self.settings.num_requests
    ):
      for row in rows.of_block(block):
        table.add_orders(block, *row)
      table.end(block)
      told = told or self._told(block)
    lines, figures = rows.weighted.ablation(group)
    self.sections.extend(lines)
    self.figures.extend(figures)
    lists = self.lists
    if lists is not None and lists.manifest["protocol"] == "retrieved":
      order = reranking_rows.retrieved_order(lists.retriever)
      found = table.by_retrieval(group, order)
    else:
      found = table.overall(group)
    title = prepared.catalog.title
    for result in found:
      self.examples[result.group] = examples_lib.of(
        result, told, title, reranking_rows.MODEL
      )
    return found

  def _told(self, block: blocks.Block) -> dict[str, examples_lib.Request]:
    """What the first requests of a block say, as the model reads it."""
    title = self.instructions.prepared.catalog.title
    first = block.examples[: examples_lib.NUM_EXAMPLES]
    wishes = block.tokens.columns["wish_text"].gather(first)
    read = block.tokens.inputs.take(first)
    return {
      one.request_id: examples_lib.Request(
        history=[title(item) for item in one.history],
        wish=wish,
        instruction=self.run.tokenizer.decode(read.tokens[start:end]),
      )
      for one, wish, (start, end) in zip(
        block.requests, wishes, itertools.pairwise(read.offsets), strict=False
      )
    }

  @property
  def baselines(self) -> list[str]:
    """Rows that owe nothing to the training; reports may lack some."""
    found = [
      reranking_rows.UNTRAINED,
      popularity.Popularity.name,
      random_ranker.Random.name,
      weighted_rows.FILTER,
      *self.retrievers,
    ]
    made_by = None if self.lists is None else self.lists.retriever
    if made_by is not None:
      found.append(reranking_rows.retrieved_order(made_by))
    fused = dict.fromkeys([*self.retrievers, made_by])
    names = [name for name in fused if name is not None]
    return [*found, weighted_rows.fused_name(names, None)]

  def _written(
    self, weighted: weighted_rows.WeightedRows
  ) -> list[results.EvaluationResult]:
    """Titles that the run writes for the requests of each task."""
    opened, _ = self._trained
    rows = written_rows.WrittenRows(
      opened,
      weighted.weights,
      self._others,
      self.settings.num_beams,
      self.settings.num_exact,
      self.settings.seed,
      self.settings.metrics,
    )
    found = []
    for name in self._tasks.names:
      own = self._tasks.blocks(
        name, self.settings.split, None, self.settings.num_requests
      )
      result, section = rows.evaluate(self._tasks.group(name), list(own))
      found.append(result)
      self.sections.extend(section)
    return found

  @functools.cached_property
  def _others(self) -> dict[str, retriever.Retriever]:
    """Baselines, and the retrievers that were given."""
    prepared = self.instructions.prepared
    baselines = (
      popularity.Popularity(),
      random_ranker.Random(self.settings.seed),
    )
    fitted = {
      one.name: one.fit(prepared.split.training_log, prepared.catalog)
      for one in baselines
    }
    return {**fitted, **self.retrievers}

  @contextlib.contextmanager
  def _chat_rows(self) -> Iterator[chat_rows.ChatRows | None]:
    """The chat model's rows, once what they take is said; None for none."""
    config = chat_rows.config(self.settings.chat)
    if config is None:
      yield None
      return
    chat = chat_rows.ChatRows(
      config,
      self.instructions.prepared.catalog,
      self.run.tokenizer,
      self.settings.protocols,
      self.settings.orders,
    )
    every = (
      block
      for name in self._tasks.names
      for block in self._tasks.blocks(
        name, self.settings.split, self.lists, self.settings.num_requests
      )
    )
    with chat.within_budget(every, self.tell):
      yield chat

  def _parts(self, params: Any) -> model_parts.ModelParts:
    return self._opened(params).parts

  def _opened(self, params: Any) -> opened_run.OpenedRun:
    return opened_run.OpenedRun.over(
      self.run, params, self.instructions, self.settings.batch_size
    )

  @functools.cached_property
  def _trained(
    self,
  ) -> tuple[opened_run.OpenedRun, checkpoint_steps.Chosen | None]:
    """The run to evaluate, and its step where the parameters are its own."""
    checkpoint = self.settings.checkpoint
    step = checkpoint_steps.parse(self.settings.step)
    if checkpoint is not None:
      return self._opened(self.run.params_from(checkpoint, step)), None
    params, chosen = self.run.params(step)
    self.tell(f"evaluates {chosen} of {self.run.directory}")
    return self._opened(params), chosen

  def _weighted(self) -> weighted_rows.WeightedRows:
    """The model's score with its weights, fitted where that is asked for."""
    (trained, chosen), lists = self._trained, self.validation_lists
    found = weighted_rows.WeightedRows(
      trained.parts,
      reranking_rows.MODEL,
      self.retrievers,
      None if lists is None else lists.retriever,
      self.settings.seed,
    )
    count = self.settings.num_fitted_on
    if not count:
      if why := found.load(self.run.directory, self.settings.split):
        self.tell(why)
      return found
    names = self._tasks.with_validation
    found.fit(
      {n: self._tasks.blocks(n, "validation", lists, count) for n in names}
    )
    if lists is not None and not found.weights.by_kind:
      raise ValueError(
        f"no validation request of {names} has one of the validation lists; "
        "make them from the data of the instructions"
      )
    if self._is_of_the_run and chosen is not None:
      found.save(self.run.directory, chosen.step)
    return found

  @property
  def _is_of_the_run(self) -> bool:
    """Whether weights are those of the run's own parameters, data and lists."""
    chosen = self.settings.checkpoint, self.settings.step, self.lists
    own = self.instructions.trained(self.run) is not False
    return chosen == (None, checkpoint_steps.BEST, None) and own

  @property
  def checkpoint(self) -> str:
    """Which parameters are evaluated: a checkpoint and its step."""
    given = self.settings.checkpoint
    if given is None:
      return f"{self.run.parameters.folder}/{self._trained[1]}"
    step = checkpoint_steps.parse(self.settings.step)
    found = opening.open_checkpoint(given, step)
    return f"{found.path} ({found.form}), step {found.step}"

  def following(self) -> following_lib.Following | None:
    """How far the run follows wishes, by the weights that lie beside it.

    Returns:
      The figures; None where none are asked for, the run cannot rank whole
      catalogues under other wishes, or these have nothing to wish for.
    """
    opened, _ = self._trained
    if not self.settings.num_histories or opened.parts.matcher is None:
      return None
    if not opened.template_set.knows_wishes:
      self.tell("following wishes is not measured: the run was taught none")
      return None
    prepared = self.instructions.prepared
    frame = prepared.requests.read(self.settings.split)
    # One of each user: others share most of their history.
    chosen = request.from_frame(frame.filter("newest"))
    try:
      return following.evaluate(
        prepared.catalog,
        [one.history for one in chosen],
        opened.catalog_ranker.score_catalog,
        attributes=opened.parts.attributes,
        lists=following.Lists(
          [one.candidates for one in chosen],
          [str(one.target) for one in chosen],
        ),
        num_histories=self.settings.num_histories,
        seed=self.settings.seed,
      )
    except following.NothingToWishForError as error:
      self.tell(f"following wishes is not measured: {error}")
      return None
