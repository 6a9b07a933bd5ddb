"""The tasks and mixtures of InstructRec, version 1.

`instructrec_v1` mixes `instructrec_v1_{sequential, product_search,
personalized_search}`; each has a sister ending in `_rerank` whose targets are
candidate lists. They read the TFDS data set that `instructrec generate` wrote
to `TFDS_DATA_DIR` (or `--tfds_data_dir`), with the vocabulary named by
`INSTRUCTREC_VOCABULARY` (T5's public one where it is not set).
"""

from instructrec.pipelines.tasks_v1 import NAMES

__all__ = ["NAMES"]
