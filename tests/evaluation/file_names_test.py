from instructrec.evaluation import file_names


def test_names_are_plain_and_apart():
  names = ["a b", "a/b", "a-b", "../x", "..", "", "Spiele \u00fc_1.0"]
  found = file_names.unique(names)
  assert found[:4] == ["a-b", "a-b-2", "a-b-3", "-x"]
  assert found[4:] == ["-", "--2", "Spiele-\u00fc_1.0"]
