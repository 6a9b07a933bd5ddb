"""The Dockerfiles: pinned, locked, not root, and copy what there is."""

import fnmatch
import pathlib
import re
import shlex

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FILES = ("Dockerfile", "launch/serve/Dockerfile")
TEXT = (ROOT / "Dockerfile").read_text()


def instructions(text):
  """(keyword, rest) pairs: comments dropped, continued lines joined."""
  lines = [line for line in text.splitlines() if not line.startswith("#")]
  joined = re.sub(r"\\\n", " ", "\n".join(lines))
  return [
    tuple(line.strip().split(maxsplit=1))
    for line in joined.splitlines()
    if line.strip()
  ]


def faults(text, ignored):
  """What is wrong with a Dockerfile and a .dockerignore."""
  found = []
  steps = instructions(text)
  arguments = dict(
    rest.split("=", 1) for word, rest in steps if word == "ARG" and "=" in rest
  )
  stages = set()
  user = "root"
  allowed = [line[1:] for line in ignored.splitlines() if line[:1] == "!"]
  for word, rest in steps:
    words = shlex.split(rest)
    if word == "FROM":
      image = re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], words[0])
      if not re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image):
        found.append(f"{image} is not pinned")
      stages.update(words[2:3])
      user = "root"
    elif word == "COPY" and (
      words[0] != "--from=build" or "build" not in stages
    ):
      for source in [w for w in words if not w.startswith("--")][:-1]:
        if not (ROOT / source).exists():
          found.append(f"COPY of {source}, which there is not")
        if not any(fnmatch.fnmatch(source.strip("/"), p) for p in allowed):
          found.append(f"COPY of {source}, which .dockerignore keeps out")
    elif word == "USER":
      user = words[0]
    elif word == "RUN" and "pip install" in rest:
      for command in rest.split("pip install")[1:]:
        if not ("--constraint" in command or "--no-deps" in command):
          found.append("pip install without locked versions")
  if user in ("root", "0"):
    found.append("runs as root")
  return found


IGNORED = (ROOT / ".dockerignore").read_text()


@pytest.mark.parametrize("name", FILES)
def test_a_dockerfile_has_no_fault(name):
  assert faults((ROOT / name).read_text(), IGNORED) == []


@pytest.mark.parametrize(
  ("right", "planted", "message"),
  [
    ("@sha256:", "-", "is not pinned"),
    ("COPY tasks/ tasks/", "COPY task/ tasks/", "which there is not"),
    ("COPY tasks/ tasks/", "COPY docs/ docs/", "keeps out"),
    ("USER instructrec", "", "runs as root"),
    (
      "--constraint requirements/py311.txt \\\n      --constraint requirements"
      "/py311-accelerators.txt",
      "",
      "without locked versions",
    ),
  ],
)
def test_planted_mistakes_are_caught(right, planted, message):
  assert right in TEXT
  found = faults(TEXT.replace(right, planted), IGNORED)
  assert any(message in fault for fault in found), found


def test_every_file_of_the_image_that_it_needs_is_copied():
  copied = {
    source.strip("/")
    for word, rest in instructions(TEXT)
    if word == "COPY"
    for source in shlex.split(rest)[:-1]
  }
  assert {"instructrec", "tasks", "gin", "launch", "requirements"} <= copied


def test_the_locks_do_not_contradict_each_other():
  pins: dict[str, str] = {}
  for name in ("py311", "py311-accelerators"):
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    for line in text.splitlines():
      if not line.startswith("#"):
        package, version = line.split("==")
        key = package.lower().replace("_", "-")
        assert pins.setdefault(key, version) == version, line
  # The plugins must have JAX's own version.
  assert pins["jax-cuda13-plugin"] == pins["jaxlib"] == pins["jax"]
