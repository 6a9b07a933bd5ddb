"""Replies that were paid for are kept, and are no others than those."""

import pytest

from instructrec.instructions.budget import Tokens
from instructrec.instructions.reply_cache import ReplyCache

TEXT = "Calm worlds to build in."


@pytest.fixture
def path(tmp_path):
  path = tmp_path / "replies.sqlite"
  cache = ReplyCache(path)
  for key in ("first", "second"):
    cache.put(key, f"{TEXT} {key}", Tokens(3, 4))
  cache.close()
  return path


def test_replies_are_kept(path):
  cache = ReplyCache(path)
  assert cache.get("first") == f"{TEXT} first"
  assert cache.get("third") is None
  cache.close()


def test_a_reply_that_was_changed_is_asked_for_again(path, caplog):
  content = path.read_bytes()
  changed = content.replace(b"in. first", b"in. firsu")
  assert changed != content
  path.write_bytes(changed)
  cache = ReplyCache(path)
  assert cache.get("second") == f"{TEXT} second"
  assert not caplog.text
  assert cache.get("first") is None
  assert "replies.sqlite: the reply first" in caplog.text
  cache.put("first", f"{TEXT} first", Tokens(3, 4))
  assert cache.get("first") == f"{TEXT} first"
  cache.close()


def test_a_damaged_file_is_named(path):
  content = path.read_bytes()
  path.write_bytes(content[:4096] + bytes(len(content) - 4096))
  cache = ReplyCache(path, options="chat")
  for use in (
    lambda: cache.get("first"),
    lambda: cache.put("third", TEXT, Tokens(1, 1)),
  ):
    with pytest.raises(ValueError, match=r"replies\.sqlite cannot .*--chat_ca"):
      use()
  cache.close()
  for content in (b"x" * 5000, b"my notes\n"):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"replies\.sqlite cannot be used as"):
      ReplyCache(path)
    assert path.read_bytes() == content
