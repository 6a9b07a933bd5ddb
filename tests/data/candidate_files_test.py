"""Published candidate lists: what is read, and what is ranked."""

import gzip

import polars as pl
import pytest

from instructrec.data import candidate_files, catalog

ITEMS = catalog.Catalog(
  pl.DataFrame(
    {
      "item_id": [f"i{n}" for n in range(30)],
      "title": [f"Item {n}" for n in range(30)],
    }
  )
)


def split_of(*rows):
  return pl.DataFrame(
    [
      {
        "request_id": f"r-{user}-{n}",
        "user_id": user,
        "history": history,
        "candidates": [target, "i29"],
        "target": target,
      }
      for n, (user, history, target) in enumerate(rows)
    ]
  )


def write(path, *lines, header="user_id\tcandidate_item_ids"):
  path.write_text("\n".join([header, *lines]) + "\n")
  return path


def test_lists_are_read_in_their_order_without_repetitions(tmp_path):
  path = write(tmp_path / "a.tsv", "u\ti3 i1 i3 i2", "v\ti9")
  assert candidate_files.read(path, ITEMS) == {
    "u": ("i3", "i1", "i2"),
    "v": ("i9",),
  }
  packed = tmp_path / "a.tsv.gz"
  packed.write_bytes(gzip.compress(path.read_bytes()))
  assert candidate_files.read(packed, ITEMS) == candidate_files.read(
    path, ITEMS
  )


@pytest.mark.parametrize(
  ("lines", "header", "message"),
  [
    (["u\ti1"], "user\titems", r"a.tsv, line 1: found 'user\\titems', expec"),
    (["u,i1"], None, r"a.tsv, line 2: found 'u,i1', expected a user, a tab"),
    (["u\ti1\t1"], None, r"a.tsv, line 2: found 'u\\ti1\\t1', expected a use"),
    ([], None, "a.tsv has no candidate lists"),
    (["u\ti1", "v\tx"], None, r"a.tsv:3: the list of user 'v' has the item"),
    (["u\ti1", "u\ti2"], None, r"a.tsv:3: user 'u' has a list already"),
  ],
)
def test_files_of_other_data_are_named(tmp_path, lines, header, message):
  header = header or "user_id\tcandidate_item_ids"
  path = write(tmp_path / "a.tsv", *lines, header=header)
  with pytest.raises(ValueError, match=message):
    candidate_files.read(path, ITEMS)


@pytest.mark.parametrize("name", ["ml-1m.random", "Games.bm25", "a.txt"])
def test_files_are_read_as_they_are_published(tmp_path, name):
  """Without a header, under any name, with CR or empty lines at the end."""
  path = tmp_path / name
  path.write_bytes(b"5077\ti3 i1 i2\r\n5075\ti9 i4\r\n\n")
  candidate_files.check(path)
  assert candidate_files.read(path, ITEMS) == {
    "5077": ("i3", "i1", "i2"),
    "5075": ("i9", "i4"),
  }


def test_what_is_no_candidate_file_is_refused_by_its_first_line(tmp_path):
  path = write(tmp_path / "a.tsv", "u\ti1", header="user_id,items")
  with pytest.raises(ValueError, match=r"a.tsv, line 1: found 'user_id,items'"):
    candidate_files.check(path)
  with pytest.raises(FileNotFoundError, match="no such file"):
    candidate_files.check(tmp_path / "b.tsv")
  # Later lines, and the catalogue, are the reading's to check.
  candidate_files.check(write(tmp_path / "c.tsv", "u\ti1", "oops"))


def test_lists_of_our_own_are_no_published_file(tmp_path):
  split_of(("u", ["i1"], "i2")).write_parquet(tmp_path / "lists")
  with pytest.raises(ValueError, match=r"lists is Parquet, .*`evaluate --c"):
    candidate_files.check(tmp_path / "lists")


@pytest.mark.parametrize("target", ["i2", "i20"])
def test_the_target_is_among_the_first_of_its_list(target):
  """Whether the list has it or not, its length is the same."""
  ids = tuple(f"i{n}" for n in range(10))
  history = [f"i{n}" for n in range(21, 27)]
  (r,) = candidate_files.requests(
    {"u": ids},
    split_of(("v", ["i8"], "i9"), ("u", history, target)),
    num_candidates=5,
    max_history=4,
  )
  others = [i for i in ids if i != target][:4]
  assert sorted(r.candidates) == sorted([*others, target])
  assert (r.user_id, r.target) == ("u", target)
  assert r.history == ("i23", "i24", "i25", "i26")


def test_the_order_of_candidates_depends_on_the_seed_alone():
  """And says nothing of the target's place, or of the order of the file."""
  ids = tuple(f"i{n}" for n in range(20))
  users = [f"u{n}" for n in range(400)]
  rows = split_of(*[(user, ["i25"], "i27") for user in users])

  def lists(order, seed, names=users):
    found = candidate_files.requests(
      dict.fromkeys(names, order), rows, num_candidates=20, seed=seed
    )
    return [r.candidates for r in found]

  found = lists(ids[:19], 0)
  assert lists(ids[:19][::-1], 0) == found
  assert lists(ids[:19], 0, users[7:9]) == found[7:9]
  assert lists(ids[:19], 1) != found
  mean = sum(ids.index("i27") for ids in found) / 400
  # Uniform over 0..19: 9.5, give or take five standard errors.
  assert abs(mean - 9.5) < 5 * (20**2 / 12 / 400) ** 0.5


def test_lists_that_do_not_fit_are_named():
  rows = split_of(("u", ["i1"], "i2"), ("u", ["i1", "i2"], "i3"))
  with pytest.raises(ValueError, match="user 'w' of the candidate file has no"):
    candidate_files.requests({"w": ("i1",)}, rows)
  with pytest.raises(ValueError, match="has 2 items beside the target, expec"):
    candidate_files.requests({"u": ("i2", "i4", "i5")}, rows.head(1))
  with pytest.raises(ValueError, match="a user has several requests"):
    candidate_files.requests({"u": ("i4",)}, rows, num_candidates=2)
