"""Lists are drawn, rewarded and learnt from within one compiled step.

An `Objective` like others: it reads a batch, draws lists of each prompt
(`rollouts`), rewards them (`rewards`) and returns a policy's loss
(`models.objectives.policy`). Its unit is a place of a drawn list, written or
not, so that neither titles nor lists gain by their length.

The policy that is not to be left is the same network without its adapters.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from instructrec.alignment import (
  list_metrics,
  list_rows,
  rewards,
  rollouts,
  taught_lists,
)
from instructrec.evaluation import control, generated
from instructrec.models.generation import (
  catalog_decoder,
  catalog_trie,
  catalog_walk,
  list_policy,
  title_lists,
)
from instructrec.models.networks import network
from instructrec.models.networks.reading import Reading
from instructrec.models.objectives import item_grpo, objective
from instructrec.models.objectives import policy as policy_lib

_TOKENS, _ITEMS, _OLD = "drawn_tokens", "drawn_items", "drawn_old"
_REFERENCE, _VALUES = "drawn_reference", "drawn_values"
"""What `ListObjective.draw` adds to batches: lists, how likely they were to the
policy that drew them and to that which is not to be left, and its values."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListObjective:
  """Policy gradient over lists of titles.

  Draws are a function of the prompt and of `list_keys`, a key a row that the
  batch brings: other microbatches, devices and trainers draw the same lists.

  Attributes:
    separator_ids: see `list_policy.ListPolicy`; None where `bound` is to give
      them.
    max_items: items of the longest list that is asked for.
    num_lists: lists drawn of each prompt, which are compared; at least 2.
    loss: what is learnt from them: `item_grpo.ItemGRPO`, `grpo.GRPO` or
      `ppo.PPO`; `dpo.DPO`.
    taught: whether lists are not drawn, but made by the teacher
      (`taught_lists`), `num_lists` of them; for `dpo.DPO`.
    num_updates: how often is learnt from what was drawn once.
    most_moved: in nats a token, how far the policy may move from what drew the
      lists before they are left.
    constrained: see `list_policy.ListPolicy`; what constrained lists learn is
      their order and what is in them, others also to have no errors.
    max_length: tokens of a list that is not constrained.
    temperature: see `list_policy.ListPolicy`. Lists that are to be written by
      the likeliest tokens are better learnt from below 1: at 1 what is drawn
      hardly shows their mistakes, such as one title again and again.
    form: whose rewards, the name of a `rewards.Form`.
    alpha: how much the ranking counts beside the wish; see `rewards`.
    catalog: what is written, or what makes it when it is asked; None where
      `bound` is to give it.
    popularity: of each item, in [0, 1], for what is reported; None leaves it
      out, or has `bound` give it.
  """

  separator_ids: tuple[int, ...] | None = None
  max_items: int = 10
  num_lists: int = 8
  loss: policy_lib.PolicyLoss = dataclasses.field(
    default_factory=item_grpo.ItemGRPO
  )
  taught: bool = False
  num_updates: int = 1
  most_moved: float = 0.05
  constrained: bool = True
  max_length: int | None = None
  temperature: float = 1.0
  form: str = rewards.Form.MENDED
  alpha: float = rewards.ALPHA
  catalog: catalog_trie.CatalogTrie | catalog_decoder.CatalogSource | None = (
    None
  )
  popularity: Float[np.ndarray, " items"] | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  def __post_init__(self) -> None:
    """Checks names and numbers.

    Raises:
      ValueError: where one is out of its range, or they do not go together.
    """
    forms = [form.value for form in rewards.Form]
    if self.form not in forms:
      raise ValueError(
        f"form is {self.form!r}; expected one of {', '.join(forms)}"
      )
    if self.num_lists < 2 or not 0.0 <= self.alpha <= 1.0:
      raise ValueError(
        f"num_lists is {self.num_lists} and alpha {self.alpha}; expected at "
        "least 2, as a list is compared with others, and a number in [0, 1]"
      )
    if self.taught and self.num_lists != taught_lists.NUMBER:
      raise ValueError(
        f"num_lists is {self.num_lists}; the teacher makes "
        f"{taught_lists.NUMBER} lists of each prompt: set NUM_LISTS = "
        f"{taught_lists.NUMBER}"
      )
    if self.num_updates < 1 or not self.most_moved > 0.0:
      raise ValueError(
        f"num_updates is {self.num_updates} and most_moved {self.most_moved}; "
        "expected at least 1, and a number above 0"
      )
    if self.separator_ids is not None:
      self.policy  # noqa: B018  Checks the rest.

  @property
  def policy(self) -> list_policy.ListPolicy:
    """How tokens have their probability when lists are drawn, and learnt."""
    closed = catalog_walk.CLOSED
    if self.separator_ids is None:
      raise ValueError(
        "the objective of lists has no separator_ids; set them, or have a "
        "run's by list_objective.bound"
      )
    return list_policy.ListPolicy(
      separator_ids=tuple(self.separator_ids),
      max_items=self.max_items,
      constrained=self.constrained,
      probability=closed if self.constrained else catalog_walk.OPEN,
      max_length=self.max_length,
      temperature=self.temperature,
    )

  @property
  def trains(self) -> frozenset[str]:
    """See `objective.Objective`."""
    return frozenset((objective.LIKELIHOOD,))

  def check(self, arrays: objective.Arrays, *, titles: bool) -> None:
    """See `objective.Objective`."""
    del titles
    missing = [name for name in list_rows.ARRAYS if name not in arrays]
    if missing:
      raise ValueError(
        f"the objective of lists reads {', '.join(missing)}, which the batch "
        f"lacks; it has {', '.join(sorted(arrays))}. In the embedded runner "
        "set LIST_LENGTH, and take a mixture of control tasks that ask for "
        "lists, such as 'control_v1_lists'"
      )

  def divisor(self, arrays: objective.Arrays) -> Float[Array, ""]:
    """Places of all drawn lists, written or not."""
    rows = arrays["list_sizes"].shape[0]
    return jnp.asarray(rows * self.num_lists * self.max_items, jnp.float32)

  def __call__(self, reading: Reading) -> objective.Outcome:
    """See `objective.Objective`."""
    if self.loss.divergence_weight and not reading.has_adapters:
      raise ValueError(
        f"divergence_weight is {self.loss.divergence_weight}, but the network "
        "has no adapters without which it would be the policy that is not to "
        "be left; train with gin/overrides/lora.gin, or set "
        f"{type(self.loss).__name__}.divergence_weight = 0.0"
      )
    arrays = reading.arrays
    trains = reading.has_dropout
    reading = reading.without_dropout()
    if _TOKENS not in arrays:
      if self.repeats is not None and trains:
        raise ValueError(
          f"num_updates is {self.num_updates}, but this trainer makes one "
          "update of each draw; set ListObjective.num_updates = 1"
        )
      arrays = {**arrays, **self._written(reading)}
    samples = self._samples(reading, arrays)
    lists = self._lists(arrays, samples.old, reading.eos_id)
    drawn = rollouts.Rollout.of(lists, list_rows.requests(arrays), self.policy)
    asked = list_rows.asked(arrays)
    earned = self._earned(drawn.items, arrays, asked)
    written = drawn.num_tokens > 0
    missing = self._missing(drawn.items, asked)
    total, metrics = self.loss(
      samples,
      policy_lib.Rewards(
        jnp.where(missing, -1.0, earned.items), earned.lists, written | missing
      ),
    )
    metrics |= list_metrics.of_lists(drawn, earned, self.popularity)
    if reading.has_adapters:
      metrics["policy/log_ratio"] = list_metrics.log_ratio(samples)
    else:
      # There is nothing that it would be measured from.
      del metrics["policy/divergence"]
    return objective.Outcome(total, metrics)

  @property
  def repeats(self) -> objective.Repeats | None:
    """See `objective.DrawingObjective`."""
    if self.num_updates == 1:
      return None
    return objective.Repeats(
      self.num_updates, policy_lib.MOVED, self.most_moved
    )

  def draw(self, reading: Reading) -> objective.Arrays:
    """See `objective.DrawingObjective`."""
    reading = reading.without_dropout()
    found = self._written(reading)
    if reading.has_values or _OLD not in found:
      followed = self._follow(reading, found[_TOKENS])
      found.setdefault(_OLD, followed.log_probs)
      if reading.has_values:
        found[_VALUES] = reading.values(followed.features)
    return jax.lax.stop_gradient(found)

  def _written(self, reading: Reading) -> dict[str, Array]:
    """Lists to learn from; how likely those are that the teacher made, is left.

    Whoever learns from them reads them with their gradient anyway.
    """
    if self.taught:
      found = self._taught(reading)
    else:
      lists = rollouts.draw(
        reading,
        self._catalog(reading),
        list_rows.requests(reading.arrays),
        self.policy,
        num_lists=self.num_lists,
        rng=list_rows.keys(reading.arrays),
      ).lists
      found = {
        _TOKENS: lists.tokens,
        _ITEMS: lists.items,
        _OLD: lists.token_log_probs,
      }
    if reading.has_adapters:
      without = reading.without_adapters()
      found[_REFERENCE] = self._follow(without, found[_TOKENS]).log_probs
    return found

  def _taught(self, reading: Reading) -> dict[str, Array]:
    """The teacher's lists, as the policy might have drawn them."""
    arrays = reading.arrays
    best = arrays["list_teacher"]
    has = control.at_places(arrays["list_has"], list_rows.places(best))
    items = taught_lists.items(
      best,
      has.astype(bool),
      arrays["list_sizes"],
      list_rows.wish(arrays),
      self.max_items,
    )
    tokens = taught_lists.tokens(items, self._catalog(reading), self.policy)
    return {_TOKENS: tokens, _ITEMS: items}

  def _lists(
    self,
    arrays: objective.Arrays,
    log_probs: Float[Array, "batch lists length"],
    eos_id: int,
  ) -> list_policy.TitleLists:
    """The lists to learn from, with what their tokens had when they came."""
    tokens, items = arrays[_TOKENS], arrays[_ITEMS]
    return list_policy.TitleLists(
      tokens=tokens,
      items=items,
      token_log_probs=log_probs,
      log_probs=self.policy.by_item(log_probs, tokens),
      num_items=(items != 0).sum(-1),
      ended=(tokens == eos_id).any(-1),
    )

  def _follow(
    self, reading: Reading, tokens: Int[Array, "batch lists length"]
  ) -> title_lists.Followed:
    return title_lists.follow(
      reading,
      self._catalog(reading),
      list_rows.requests(reading.arrays),
      self.policy,
      tokens,
    )

  def _catalog(self, reading: Reading) -> catalog_trie.CatalogTrie:
    trie = catalog_decoder.made(
      self.catalog, vocab_size=reading.vocab_size, eos_id=reading.eos_id
    )
    catalog_decoder.check_vocabulary(reading, trie)
    return trie

  def _samples(
    self, reading: Reading, arrays: objective.Arrays
  ) -> policy_lib.Samples:
    """The drawn tokens, under the policy, that which drew, and without it."""
    tokens = arrays[_TOKENS]
    followed = self._follow(reading, tokens)
    values = None
    if reading.has_values:
      values = reading.values(followed.features)
    old = arrays.get(_OLD)
    if old is None:
      old = jax.lax.stop_gradient(followed.log_probs)
    places = self.policy.places(tokens)
    return policy_lib.Samples(
      log_probs=followed.log_probs,
      old=old,
      reference=arrays.get(_REFERENCE, old),
      entropies=followed.entropies,
      items=jnp.where(tokens != network.PAD_ID, places, -1),
      values=values,
      old_values=arrays.get(_VALUES),
    )

  def _earned(
    self,
    items: Int[Array, "batch lists places"],
    arrays: objective.Arrays,
    asked: rewards.Asked,
  ) -> rewards.Earned:
    """What drawn lists earn, by what their rows ask."""
    has = control.at_places(arrays["list_has"][:, None], items)
    shown = rewards.Shown(
      items, has.astype(bool), list_rows.ranks(items, arrays["list_teacher"])
    )
    return rewards.rewards(
      shown, asked, form=rewards.Form(self.form), alpha=self.alpha
    )

  def _missing(
    self, items: Int[Array, "batch lists places"], asked: rewards.Asked
  ) -> Bool[Array, "batch lists places"]:
    """Places that a list lacks, as bad as errors where rewards are mended.

    Otherwise whoever is not sure would learn to stop.
    """
    if self.form == rewards.Form.PAPER:
      return jnp.zeros(items.shape, bool)
    needed = jnp.minimum(asked.k, control.room(asked.wish))
    return control.within(items, needed) & (items == generated.EMPTY)


def bound(
  found: objective.Objective,
  trie: catalog_trie.CatalogTrie,
  separator_ids: tuple[int, ...],
  popularity: Float[np.ndarray, " items"] | None = None,
) -> objective.Objective:
  """An objective with the catalogue and the separators of a run.

  Args:
    found: any; of those that write no lists, the same is returned.
    trie: what lists are made of.
    separator_ids: the tokens between titles.
    popularity: of each item, in [0, 1].

  Returns:
    The objective; what it has of them already, it keeps.

  Raises:
    ValueError: where titles cannot stand in lists.
  """
  if isinstance(found, objective.WeightedSum):
    parts = [
      bound(part, trie, separator_ids, popularity) for part in found.objectives
    ]
    return dataclasses.replace(found, objectives=tuple(parts))
  if not isinstance(found, ListObjective):
    return found
  own = found.separator_ids
  made = dataclasses.replace(
    found,
    catalog=trie if found.catalog is None else found.catalog,
    separator_ids=separator_ids if own is None else own,
    popularity=popularity if found.popularity is None else found.popularity,
  )
  made.policy.check(trie)
  return made
