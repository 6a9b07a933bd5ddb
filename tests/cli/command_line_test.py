"""The record of a command."""

import sys

from instructrec.cli import command_line


def test_a_command_is_kept_without_a_password(monkeypatch):
  words = ["evaluate", "--chat_base_url=http://u:p@ss@host/v1", "--x=a b"]
  monkeypatch.setattr(sys, "argv", ["/usr/bin/instructrec", *words])
  assert command_line.given() == (
    "instructrec evaluate --chat_base_url=http://host/v1 '--x=a b'"
  )
