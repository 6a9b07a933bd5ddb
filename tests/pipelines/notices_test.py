"""What native libraries say of themselves is shown to those who ask for it."""

import os

import pytest

pytestmark = pytest.mark.tf
_NOTICE = (
  b"WARNING: All log messages before absl::InitializeLog() is called are "
  b"written to STDERR\nI0000 00:00:1795951474.28    6327 port.cc:153] oneDNN\n"
)


@pytest.mark.parametrize(
  ("level", "shown"),
  # JAX has set 1 by then, where nobody has set another.
  [(None, False), ("1", False), ("3", False), ("0", True), ("2", True)],
)
def test_notices_are_kept_back_and_errors_are_not(
  level, shown, monkeypatch, capfd
):
  from instructrec.pipelines import notices

  monkeypatch.delenv(notices.LEVEL, raising=False)
  if level is not None:
    monkeypatch.setenv(notices.LEVEL, level)
  with notices.kept_back():
    os.write(2, _NOTICE)
    os.write(2, b"a real error\n")
  said = capfd.readouterr().err
  assert "a real error\n" in said
  assert ("oneDNN" in said) == shown
  assert ("InitializeLog" in said) == shown
