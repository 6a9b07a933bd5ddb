import json
import os
import subprocess
import sys

import numpy as np

from instructrec.evaluation import environment


def git(folder, *arguments):
  subprocess.run(
    ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
    cwd=folder,
    check=True,
    capture_output=True,
  )


def test_versions_and_machine_are_json_values():
  found = environment.describe()
  assert json.loads(json.dumps(found)) == found
  assert found["python"] == ".".join(map(str, sys.version_info[:3]))
  assert found["packages"]["numpy"] == np.__version__
  assert found["cores"] == os.cpu_count()


def test_a_package_that_is_not_installed_is_none(monkeypatch):
  monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package-here",))
  assert environment.describe()["packages"] == {"no-such-package-here": None}


def test_no_environment_variable_is_told(monkeypatch):
  monkeypatch.setenv("SOME_TOKEN", "sesame-open-123")
  assert "sesame-open-123" not in json.dumps(environment.describe())


def test_the_commit_is_that_of_the_checkout(tmp_path):
  assert environment.commit(tmp_path) is None  # Not a checkout.
  git(tmp_path, "init", "-q")
  assert environment.commit(tmp_path) is None  # No commit yet.
  (tmp_path / "a").write_text("1")
  git(tmp_path, "add", "a")
  git(tmp_path, "commit", "-q", "-m", "one")
  # A tag must not take the place of the hash.
  git(tmp_path, "tag", "-a", "v1", "-m", "v1")
  found = environment.commit(tmp_path)
  assert len(found) == 40
  assert set(found) <= set("0123456789abcdef")
  (tmp_path / "untracked").write_text("1")
  assert environment.commit(tmp_path) == found
  (tmp_path / "a").write_text("2")
  assert environment.commit(tmp_path) == f"{found}-dirty"
  # A folder within is not a checkout: it may be an installed package.
  (tmp_path / "site-packages").mkdir()
  assert environment.commit(tmp_path / "site-packages") is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
  (tmp_path / ".git").mkdir()
  monkeypatch.setenv("PATH", str(tmp_path))
  assert environment.commit(tmp_path) is None


def test_the_processor_is_read_where_the_system_tells_it(tmp_path):
  info = tmp_path / "cpuinfo"
  info.write_text("processor\t: 0\nmodel name\t: Abacus 9: turbo\n")
  assert environment._processor(info) == "Abacus 9: turbo"
  info.write_text("processor\t: 0\n")
  assert environment._processor(info) != "Abacus 9: turbo"


def test_an_installed_package_tells_what_it_was_built_from(tmp_path):
  (tmp_path / "instructrec").mkdir()
  (tmp_path / "instructrec" / "COMMIT").write_text("0123abc-dirty\n")
  assert environment.commit(tmp_path) == "0123abc-dirty"
  # A checkout tells its own.
  git(tmp_path, "init", "-q")
  assert environment.commit(tmp_path) is None
