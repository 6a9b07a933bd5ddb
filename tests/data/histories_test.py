"""Histories in a row become single interactions, or are refused."""

import pytest

from instructrec.data import bad_rows, recbole, table

ITEMS = "item_id,title\n" + "".join(f"{n},Item {n}\n" for n in range(1, 10))


def load(folder, text, **options):
  (folder / "log.csv").write_text(text)
  (folder / "items.csv").write_text(ITEMS)
  return table.load(folder / "log.csv", folder / "items.csv", **options)


FORMS = [
  # MiniOneRec's: Python's lists.
  "user_id,history_item_id,item_id\nA,\"['1', '2', '3']\",4\n",
  "user_id,history_item_title,history_item_id,item_id\n"
  'A,"[\'a\']","[1, 2, 3]",4\n',
  'user_id,history_item_id,item_id\nA,"[""1"", ""2"", ""3""]",4\n',
  # RecBole's benchmark files, and Amazon's of 2023.
  "user_id:token\titem_id_list:token_seq\titem_id:token\nA\t1 2 3\t4\n",
  "user_id,item_id,history\nA,4,1 2 3\n",
  'user_id,history,item_id\nA,"1, 2, 3",4\n',
  # NumPy's, as pandas writes them.
  "user_id,history,item_id\nA,\"['1' '2'\n '3']\",4\n",
]


@pytest.mark.parametrize("text", FORMS)
def test_a_history_is_as_many_interactions(tmp_path, text):
  log, _, bad = load(tmp_path, text)
  assert log.sequences() == (["A"], [["1", "2", "3", "4"]])
  assert log.frame["order"].to_list() == [0, 1, 2, 3]
  assert "histories in its rows: they give 4 interactions" in bad.notes[-1]


HEAD = "user_id,history_item_id,item_id,rating,timestamp\n"


@pytest.mark.parametrize(
  "rows",
  [
    # A row for each target, with all that came before.
    ["[1],2", "[1 2],3", "[1 2 3],4"],
    # The newest two of it.
    ["[1],2", "[1 2],3", "[2 3],4"],
    # One row that has it all, and others that repeat parts.
    ["[1 2 3],4", "[1],2", "[2],3"],
    # From the first item on, longer and longer.
    ["[1],2", "[1 2 3],4"],
    # The first without a history, some twice.
    ["[],1", "[1],2", "[1],2", "[1 2],3", "[2 3],4", "[2 3],4"],
  ],
)
def test_rows_of_a_user_go_on_from_each_other(tmp_path, rows):
  # Rows of others between them change nothing.
  lines = [f"{user},{row},5,10" for row in rows for user in "AB"]
  log, _, _ = load(tmp_path, HEAD + "\n".join(lines))
  assert log.sequences() == (["A", "B"], [["1", "2", "3", "4"]] * 2)
  assert log.frame["timestamp"].null_count() == len(log)


def test_what_a_row_says_stays_with_its_own_item(tmp_path):
  log, _, _ = load(tmp_path, HEAD + 'A,"[1, 2]",3,5,10\nA,"[2, 3]",4,2,20\n')
  assert log.frame["item_id"].to_list() == ["1", "2", "3", "4"]
  assert log.frame["rating"].to_list() == [None, None, 5.0, 2.0]


def test_rows_that_do_not_go_on_are_bad_rows(tmp_path):
  text = HEAD + "A,[1],2,5,1\nA,[7],8,5,1\nA,[2],3,5,1\nB,[9],1,5,1\n"
  with pytest.raises(
    bad_rows.BadRowError,
    match=r"line 3, field 'history_item_id': found .*'7', '8'.*expected a hist",
  ):
    load(tmp_path, text)
  log, _, bad = load(tmp_path, text, policy="skip")
  assert log.sequences() == (["A", "B"], [["1", "2", "3"], ["9", "1"]])
  assert len(bad) == 1


def test_a_column_of_histories_can_be_named_or_left_out(tmp_path):
  text = 'user_id,seq,next\nA,"[1, 2]",3\n'
  names = {"interactions.item_id": "next", "history": "seq"}
  log, _, _ = load(tmp_path, text, columns=names)
  assert log.sequences()[1] == [["1", "2", "3"]]
  log, _, bad = load(tmp_path, FORMS[0], columns={"history": ""})
  assert log.sequences()[1] == [["4"]]
  assert "nothing reads the columns history_item_id" in bad.notes[0]


def test_recbole_benchmark_files(tmp_path):
  (tmp_path / "g.test.inter").write_text(FORMS[3])
  (tmp_path / "g.item").write_text(
    "item_id:token\ttitle:token_seq\n" + ITEMS.replace(",", "\t")[14:]
  )
  log, _, _ = recbole.load(tmp_path)
  assert log.sequences() == (["A"], [["1", "2", "3", "4"]])
