"""Which items a list may still go on to: none twice, and of a kind so many.

As for single items (`leaf_intervals`), a filter is a count of leaves over
intervals. Items are of one or two kinds; each has room for a number of items,
and counts for nothing once the room is used up. What a list has already is
taken off the counts one by one, so that nothing of the catalogue's size changes
while lists are written, and the lists of a prompt share its counts.

Where something speaks for items beside their titles, each list has a prior of
its own, which loses what is listed. A quota may also only pull lists that are
led so: both kinds then have room for all, and the one of which some are still
to come speaks for its items, by the share of the places left that it needs.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.generation import catalog_trie, leaf_intervals


@flax.struct.dataclass
class Quota:
  """How many items of a kind a list has.

  "At least" is room for the others, which is what it leaves of the list: of ten
  items, at least three mean at most seven others.

  Attributes:
    items: which items are of the kind, by number less one; see
      `leaf_intervals.Conditions` for the number of columns.
    at_least: 0 for any number.
    at_most: the list's length, or more, for any number.
    pull: None holds lists to it. Else they are only led by it: so many nats
      are added to items of a kind that needs all places that are left, and to
      those of one that needs a share of them, that share of it.
  """

  items: Bool[Array, "batch items"]
  at_least: Int[Array, " batch"]
  at_most: Int[Array, " batch"]
  pull: float | Float[Array, ""] | None = None


@flax.struct.dataclass
class Due:
  """What a quota that pulls still needs.

  Attributes:
    items: of each kind; below 0 where there are more than that.
    places: that are left.
    pull: see `Quota`.
  """

  items: Int[Array, "lists kinds"]
  places: Int[Array, " lists"]
  pull: float | Float[Array, ""]

  @property
  def scores(self) -> Float[Array, "lists kinds"]:
    """What is added to the items of each kind, in nats."""
    places = self.places[:, None]
    needed = jnp.clip(self.items, 0, places)
    return self.pull * needed / jnp.maximum(places, 1)


@flax.struct.dataclass
class Remaining:
  """Which leaves lists may still go on to.

  A `Walk` asks it in the place of `leaf_intervals.Allowed`, with one way a
  list; the lists of a prompt stand next to each other.

  Attributes:
    before: how many of the leaves before each may be listed, by kind.
    room: how many more items of each kind a list may have.
    listed: leaves that it has, in order; -1 for none.
    kinds: of those.
    prior: what speaks for what may be listed, a row for each list and kind;
      None for nothing.
    due: what a quota that pulls still needs; None without one.
  """

  before: Int[Array, "batch kinds leaves_plus_1"]
  room: Int[Array, "lists kinds"]
  listed: Int[Array, "lists places"]
  kinds: Int[Array, "lists places"]
  prior: leaf_intervals.Prior | None = None
  due: Due | None = None

  @classmethod
  def of(
    cls,
    trie: catalog_trie.CatalogTrie,
    conditions: leaf_intervals.Conditions,
    quota: Quota | None,
    lengths: Int[Array, " batch"],
    num_places: int,
  ) -> "Remaining":
    """What one empty list a prompt may have.

    Args:
      trie: the catalogue.
      conditions: what requests say of items.
      quota: what they say of a kind of them.
      lengths: items of each list.
      num_places: the most there are.

    Raises:
      ValueError: where a quota pulls, and nothing leads the lists.
    """
    shape = (len(lengths), trie.capacity)
    allowed = conditions.allowed
    if allowed is None:
      allowed = jnp.ones((len(lengths), 1), bool)
      allowed = jnp.broadcast_to(allowed, shape)
    where = leaf_intervals.by_leaf(trie, allowed, False)
    if conditions.excluded is not None:
      gone = leaf_intervals.leaves_of(trie, conditions.excluded)
      where = leaf_intervals.put(where, gone, False)
    room, due = lengths[:, None], None
    if quota is not None:
      ours = leaf_intervals.by_leaf(trie, quota.items, False)
      where = jnp.stack([where & ours, where & ~ours], axis=1)
      room = jnp.stack([quota.at_most, lengths - quota.at_least], axis=1)
      if quota.pull is not None:
        if conditions.item_scores is None:
          raise ValueError(
            f"a quota pulls by {quota.pull}, but no item_scores lead the "
            "lists; give some, or hold lists to the quota: pull=None"
          )
        due = Due(lengths[:, None] - room[:, ::-1], lengths, quota.pull)
        room = jnp.broadcast_to(lengths[:, None], room.shape)
    else:
      where = where[:, None]
    prior = None
    if conditions.item_scores is not None:
      scores = conditions.item_scores * conditions.item_weight
      level = leaf_intervals.by_leaf(trie, scores, -jnp.inf)[:, None]
      level = jnp.where(where, level, -jnp.inf)
      prior = leaf_intervals.Prior.of_leaves(level.reshape(-1, trie.capacity))
    nothing = jnp.full((len(lengths), num_places), -1, jnp.int32)
    return cls(
      before=leaf_intervals.counts_before(where),
      room=jnp.maximum(room, 0),
      listed=nothing,
      kinds=jnp.zeros_like(nothing),
      prior=prior,
      due=due,
    )

  @property
  def num_possible(self) -> Int[Array, " lists"]:
    """How many more items there can be, of empty lists."""
    return jnp.minimum(self.before[..., -1], self.room).sum(axis=1)

  def repeat(self, num_lists: int) -> "Remaining":
    """The same for so many lists a prompt."""
    prior = self.prior
    if prior is not None:
      by_prompt = prior.tree.reshape(*self.room.shape, -1)
      trees = jnp.repeat(by_prompt, num_lists, axis=0)
      prior = leaf_intervals.Prior(trees.reshape(-1, trees.shape[-1]))
    due = self.due
    if due is not None:
      due = due.replace(  # type: ignore[attr-defined]
        items=jnp.repeat(due.items, num_lists, axis=0),
        places=jnp.repeat(due.places, num_lists, axis=0),
      )
    return self.replace(  # type: ignore[attr-defined]
      prior=prior,
      due=due,
      room=jnp.repeat(self.room, num_lists, axis=0),
      listed=jnp.repeat(self.listed, num_lists, axis=0),
      kinds=jnp.repeat(self.kinds, num_lists, axis=0),
    )

  def narrow(
    self, lows: Int[Array, "lists nodes"], highs: Int[Array, "lists nodes"]
  ) -> tuple[Array, Array, Array]:
    """How many leaves of each interval may follow; intervals stay as wide."""
    counts = self._counted(highs) - self._counted(lows)
    count = jnp.where(self.room[..., None] > 0, counts, 0).sum(axis=1)
    # Those of a kind without room were not counted in the first place.
    gone = jnp.take_along_axis(self.room, self.kinds, axis=1) > 0
    leaves = jnp.where(gone, self.listed, -1)[:, None, :]
    inside = (leaves >= lows[..., None]) & (leaves < highs[..., None])
    return count - inside.sum(axis=-1), lows, highs

  def over(
    self, lows: Int[Array, "lists nodes"], highs: Int[Array, "lists nodes"]
  ) -> Float[Array, "lists nodes"]:
    """The log weight of the leaves of each interval that may follow."""
    assert self.prior is not None
    num_kinds = self.room.shape[1]
    found = self.prior.over(
      *(jnp.repeat(ends, num_kinds, axis=0) for ends in (lows, highs))
    )
    found = found.reshape(-1, num_kinds, lows.shape[1])
    found = jnp.where(self.room[..., None] > 0, found, -jnp.inf)
    if self.due is not None:
      found += self.due.scores[..., None]
    return jax.nn.logsumexp(found, axis=1)

  def _counted(
    self, leaves: Int[Array, "lists nodes"]
  ) -> Int[Array, "lists kinds nodes"]:
    """How many may be listed before some leaves, by kind."""
    batch, num_kinds, _ = self.before.shape
    flat = leaves.reshape(batch, -1)
    found = jax.vmap(lambda rows, index: rows[:, index])(self.before, flat)
    found = found.reshape(batch, num_kinds, -1, leaves.shape[1])
    return jnp.swapaxes(found, 1, 2).reshape(-1, num_kinds, leaves.shape[1])

  def with_leaf(
    self,
    where: Bool[Array, " lists"],
    place: Int[Array, " lists"],
    leaf: Int[Array, " lists"],
  ) -> "Remaining":
    """What is left after one more leaf.

    Args:
      where: which lists have one more.
      place: its place.
      leaf: which it is.
    """
    leaf = leaf[:, None]
    own = self._counted(leaf + 1) - self._counted(leaf)
    kind = jnp.argmax(own[..., 0], axis=1).astype(jnp.int32)
    rows = jnp.arange(len(place))
    place = jnp.where(where, place, self.listed.shape[1])  # Past the end: none.
    used = (kind[:, None] == jnp.arange(self.room.shape[1])) & where[:, None]
    prior = self.prior
    if prior is not None:
      # Of the other kind the leaf weighs nothing already.
      gone = jnp.broadcast_to(jnp.where(where[:, None], leaf, -1), used.shape)
      prior = prior.without(gone.reshape(-1))
    due = self.due
    if due is not None:
      due = due.replace(  # type: ignore[attr-defined]
        items=due.items - used, places=due.places - where
      )
    return self.replace(  # type: ignore[attr-defined]
      prior=prior,
      due=due,
      room=self.room - used,
      listed=self.listed.at[rows, place].set(leaf[:, 0], mode="drop"),
      kinds=self.kinds.at[rows, place].set(kind, mode="drop"),
    )
