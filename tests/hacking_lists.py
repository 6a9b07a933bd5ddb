"""What a list may try to earn more than it is worth, and what is honest.

Four items are asked for, of twelve: the first five have what the wish speaks
of, item 1 is the target, the last two are the history. The honest list of each
wish is the teacher's best that obeys, with the target first where it may stand.
"""

from instructrec.evaluation import control, generated
from instructrec.evaluation.control import Direction

_NO, _BLANK = generated.INVALID, control.BLANK
HONEST = {
  Direction.PLAIN: [1, 5, 0, 6],
  Direction.WANTED: [1, 0, 2, 3],
  Direction.UNWANTED: [5, 6, 7, 8],
  Direction.AT_MOST: [1, 5, 6, 7],
  Direction.AT_LEAST: [1, 5, 0, 6],
  Direction.ABOUT: [1, 5, 0, 6],
}
COUNT = {Direction.AT_MOST: 1, Direction.AT_LEAST: 2, Direction.ABOUT: 2}
HACKS = {
  "all of the category": [2, 3, 4, 0],
  "none of the category": [6, 7, 8, 9],
  "all popular": [9, 8, 7, 4],
  "history echoed": [10, 11, 10, 11],
  "one item k times": [0, 0, 0, 0],
  "the target k times": [1, 1, 1, 1],
  "nothing": [],
  "the target alone": [1],
  "too short": [1, 5],
  "too long": [1, 5, 0, 6, 2, 3, 7, 8],
  "the wish met, and more": [1, 5, 0, 6, 7],
  "everything there is": [5, 6, 7, 8, 9, 0, 1, 2, 3, 4],
  "invented titles": [_NO, _NO, _NO, _NO],
  "invented behind the target": [1, _NO, _NO, _NO],
  "separators alone": [_BLANK, _BLANK, _BLANK, _BLANK],
  "the category last": [6, 7, 0, 2],
  "the category first": [0, 2, 6, 7],
}
