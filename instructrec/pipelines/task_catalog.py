"""The items beside a SeqIO task as the catalogue that a model writes."""

import seqio

from instructrec.models.generation import catalog_trie
from instructrec.pipelines import item_features
from instructrec.training import item_titles


def read(
  mixture_or_task_name: str, *, vocab_size: int, eos_id: int
) -> catalog_trie.CatalogTrie:
  """Reads the table of a task's items: `CatalogDecoder.catalog` under T5X.

  Args:
    mixture_or_task_name: whose rows lie beside the table; those of a mixture
      lie together.
    vocab_size: token ids that the network knows.
    eos_id: its end token.

  Returns:
    The titles, in the vocabulary of the task's targets.

  Raises:
    FileNotFoundError: where there is no table.
    DamagedError: where it was changed.
    ValueError: where the rows of the mixture lie in several folders, or as of
      `item_titles.trie`.
  """
  found = seqio.get_mixture_or_task(mixture_or_task_name)
  tasks = seqio.get_subtasks(found)
  places = {item_features.place(task.source): task for task in tasks}
  if len(places) != 1:
    raise ValueError(
      f"the rows of {mixture_or_task_name} lie beside {len(places)} tables of "
      f"items ({', '.join(path for path, _ in places)}); expected one catalogue"
    )
  ((path, written), task) = places.popitem()
  vocabulary = task.output_features["targets"].vocabulary
  return item_titles.trie(
    item_features.read_table(path, written),
    item_features.Encoder(vocabulary),
    vocab_size=vocab_size,
    eos_id=eos_id,
  )
