"""Names of files after groups and methods, which may be named anything."""

from collections.abc import Sequence


def unique(names: Sequence[str]) -> list[str]:
  """A plain file name for each name: letters, digits and `._-`.

  Args:
    names: any texts.

  Returns:
    One for each; where two would be equal, the later has a number.
  """
  found: list[str] = []
  for name in names:
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    # `.` and `..` are folders, and a dot in front hides a file.
    plain = plain.lstrip(".") or "-"
    result, number = plain, 2
    while result in found:
      result, number = f"{plain}-{number}", number + 1
    found.append(result)
  return found
