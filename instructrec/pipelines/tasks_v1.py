"""Registers the shipped tasks and mixtures, version 1; see `tasks.instructrec`.

T5X has a module `tasks` of its own. Started as a script (`python
t5x/train.py`) it comes before our package of that name, so gin files that run
under T5X import this module.
"""

from instructrec.pipelines import registry, vocabulary

NAMES = registry.register(vocabulary.default(), prefix="instructrec_v1")
