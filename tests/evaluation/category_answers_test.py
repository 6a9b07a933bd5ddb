"""Answers to the reverse question, by hand."""

from instructrec.evaluation import category_answers

RIGHT = [["puzzles", "games"], ["cards", "games"], ["puzzles", "games"]]


def test_the_most_specific_category_is_told_from_the_others():
  found = category_answers.hits(["puzzles", "games", "puzzle"], RIGHT)
  assert found.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_the_commonest_answer_stands_beside():
  found = category_answers.section(
    "category", ["games"] * 3, RIGHT, seed=0, num_resamples=20
  )
  model, commonest = found.lines[4].splitlines()[2:]
  assert model.startswith("| model | 0.000 [0.000, 0.000] | 1.000")
  # Two of three are puzzles.
  assert commonest.startswith("| commonest answer | 0.667")
  figure = found.table.row("model").metrics["any of its categories"]
  assert (figure.mean, found.table.num_requests) == (1.0, 3)
