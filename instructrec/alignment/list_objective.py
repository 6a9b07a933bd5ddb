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
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from instructrec.alignment import (
  list_metrics,
  rewards,
  rollouts,
  taught_lists,
)
from instructrec.evaluation import control, generated
from instructrec.models.generation import (
  catalog_decoder,
  catalog_trie,
  catalog_walk,
  leaf_intervals,
  list_policy,
  title_lists,
)
from instructrec.models.networks import network
from instructrec.models.networks.reading import Reading
from instructrec.models.objectives import item_grpo, objective
from instructrec.models.objectives import policy as policy_lib

ARRAYS = (
  "list_sizes",
  "list_wishes",
  "list_has",
  "list_history",
  "list_targets",
  "list_teacher",
  "list_keys",
)
"""What batches say of lists; see `batches.BatchStream.batch`."""
_DRAWN, _REFERENCE, _VALUES = "drawn_", "drawn_reference", "drawn_values"
"""What `ListObjective.draw` adds to batches: fields of lists, and more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListObjective:
  """Policy gradient over lists of titles.

  Draws are a function of the prompt and of `list_keys`, a key a row that the
  batch brings: other microbatches, devices and trainers draw the same lists.

  Attributes:
    separator_id: see `list_policy.ListPolicy`; None where `bound` is to give
      it.
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

  separator_id: int | None = None
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
    if self.separator_id is not None:
      self.policy  # noqa: B018  Checks the rest.

  @property
  def policy(self) -> list_policy.ListPolicy:
    """How tokens have their probability when lists are drawn, and learnt."""
    closed = catalog_walk.CLOSED
    if self.separator_id is None:
      raise ValueError(
        "the objective of lists has no separator_id; set it, or have a run's "
        "by list_objective.bound"
      )
    return list_policy.ListPolicy(
      separator_id=self.separator_id,
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
    missing = [name for name in ARRAYS if name not in arrays]
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
    if _REFERENCE not in arrays:
      if self.repeats is not None and trains:
        raise ValueError(
          f"num_updates is {self.num_updates}, but this trainer makes one "
          "update of each draw; set ListObjective.num_updates = 1"
        )
      arrays = {**arrays, **self._written(reading)}
    drawn = rollouts.Rollout.of(
      list_policy.TitleLists(
        *(arrays[_DRAWN + name] for name in list_policy.TitleLists._fields)
      ),
      _requests(arrays),
      self.policy,
    )
    asked = _asked(arrays)
    earned = self._earned(drawn.items, arrays, asked)
    written = drawn.num_tokens > 0
    samples = self._samples(reading, arrays)
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
    if reading.has_values:
      features = self._follow(reading, found[_DRAWN + "tokens"]).features
      found[_VALUES] = reading.values(features)
    return jax.lax.stop_gradient(found)

  def _written(self, reading: Reading) -> dict[str, Array]:
    """Lists to learn from, with their probabilities under the reference."""
    if self.taught:
      lists = self._taught(reading)
    else:
      lists = rollouts.draw(
        reading,
        self._catalog(reading),
        _requests(reading.arrays),
        self.policy,
        num_lists=self.num_lists,
        rng=keys(reading.arrays),
      ).lists
    found = {_DRAWN + name: x for name, x in lists._asdict().items()}
    reference = lists.token_log_probs
    if reading.has_adapters:
      reference = self._follow(
        reading.without_adapters(), lists.tokens
      ).log_probs
    return found | {_REFERENCE: reference}

  def _taught(self, reading: Reading) -> list_policy.TitleLists:
    """The teacher's lists, as the policy might have drawn them."""
    arrays = reading.arrays
    best = arrays["list_teacher"]
    items = taught_lists.items(
      best,
      control.at_places(arrays["list_has"], _places(best)).astype(bool),
      arrays["list_sizes"],
      _wish(arrays),
      self.max_items,
    )
    tokens = taught_lists.tokens(items, self._catalog(reading), self.policy)
    log_probs = jax.lax.stop_gradient(self._follow(reading, tokens).log_probs)
    num_items = (items > 0).sum(-1)
    return list_policy.TitleLists(
      tokens=tokens,
      items=items,
      token_log_probs=log_probs,
      log_probs=self.policy.by_item(log_probs, tokens),
      num_items=num_items,
      ended=num_items > 0,
    )

  def _follow(
    self, reading: Reading, tokens: Int[Array, "batch lists length"]
  ) -> title_lists.Followed:
    return title_lists.follow(
      reading,
      self._catalog(reading),
      _requests(reading.arrays),
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
    tokens = arrays[_DRAWN + "tokens"]
    followed = self._follow(reading, tokens)
    values = None
    if reading.has_values:
      values = reading.values(followed.features)
    places = self.policy.places(tokens)
    return policy_lib.Samples(
      log_probs=followed.log_probs,
      old=arrays[_DRAWN + "token_log_probs"],
      reference=arrays[_REFERENCE],
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
      items, has.astype(bool), _ranks(items, arrays["list_teacher"])
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


def _requests(arrays: objective.Arrays) -> list_policy.ListRequests:
  """What rows ask of lists while they are written."""
  return list_policy.ListRequests(
    lengths=arrays["list_sizes"],
    conditions=leaf_intervals.Conditions(excluded=arrays["list_history"]),
  )


def keys(arrays: objective.Arrays) -> PRNGKeyArray:
  """The key of each row's draws [batch], from the bits in a batch."""
  bits = jax.lax.bitcast_convert_type(arrays["list_keys"], jnp.uint32)
  # Whichever generator a run has its dropout from: of many keys, those of TPUs
  # (`rbg`) take the first alone.
  return jax.random.wrap_key_data(bits, impl="threefry2x32")


def _wish(arrays: objective.Arrays) -> control.Wish:
  """The wish of each row."""
  return control.Wish(*jnp.moveaxis(arrays["list_wishes"], 1, 0))


def _asked(arrays: objective.Arrays) -> rewards.Asked:
  """What rows ask, for all lists of each."""
  return rewards.Asked(
    k=arrays["list_sizes"][:, None],
    target=_places(arrays["list_targets"])[:, None],
    history=_places(arrays["list_history"])[:, None],
    wish=control.Wish(*(part[:, None] for part in _wish(arrays))),
  )


def bound(
  found: objective.Objective,
  trie: catalog_trie.CatalogTrie,
  separator_id: int,
  popularity: Float[np.ndarray, " items"] | None = None,
) -> objective.Objective:
  """An objective with the catalogue and the separator of a run.

  Args:
    found: any; of those that write no lists, the same is returned.
    trie: what lists are made of.
    separator_id: the token between titles.
    popularity: of each item, in [0, 1].

  Returns:
    The objective; what it has of them already, it keeps.

  Raises:
    ValueError: where titles cannot stand in lists.
  """
  if isinstance(found, objective.WeightedSum):
    parts = [
      bound(part, trie, separator_id, popularity) for part in found.objectives
    ]
    return dataclasses.replace(found, objectives=tuple(parts))
  if not isinstance(found, ListObjective):
    return found
  own = found.separator_id
  made = dataclasses.replace(
    found,
    catalog=trie if found.catalog is None else found.catalog,
    separator_id=separator_id if own is None else own,
    popularity=popularity if found.popularity is None else found.popularity,
  )
  made.policy.check(trie)
  return made


def _places(numbers: Int[Array, "*dims"]) -> Int[Array, "*dims"]:
  """Items as rewards count them, from 0; -1 for none."""
  return numbers - 1


def _ranks(
  items: Int[Array, "batch lists places"], teacher: Int[Array, "batch best"]
) -> Int[Array, "batch lists places"]:
  """Place of each item in the teacher's ranking, from 0.

  Items that are not among its best all have the place behind them.
  """
  best = _places(teacher)[:, None, None]
  found = (items[..., None] == best) & (best >= 0)
  return jnp.where(found.any(-1), found.argmax(-1), teacher.shape[1])
