"""The tasks and mixtures of InstructRec, version 1.

`instructrec_v1` mixes what the 39 templates of the InstructRec paper write;
`instructrec_v1_all` adds ours, `instructrec_v1_direct` leaves out all whose
response is no item and no answer, `instructrec_v1_without_<group>` holds a
group out. `instructrec_v1_rerank` evaluates: its targets are candidate lists.
`genrec_v1` is GenRec's: a history in titles, and the title that follows, of
`generate --kind=genrec`; `genrec_v1_rerank` has candidate lists.
`control_v1_mixture` has lists that do as they are asked, of
`generate --kind=control`; `control_v1_general` adds rows of the others.
All of them read the TFDS data set that `instructrec generate` wrote
to `TFDS_DATA_DIR` (or `--tfds_data_dir`), with the vocabulary named by
`INSTRUCTREC_VOCABULARY` (T5's public one where it is not set).
"""

from instructrec.pipelines.tasks_v1 import NAMES

__all__ = ["NAMES"]
