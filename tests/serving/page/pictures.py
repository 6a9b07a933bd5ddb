"""Makes the pictures of the page in docs/ anew.

  instructrec serve --model_dir=runs/quickstart/model --port=8123 &
  python tests/serving/page/pictures.py --url=http://127.0.0.1:8123 --to=docs

Needs Playwright, Chromium on the path, and Pillow.
"""

import argparse
import io
import pathlib

import conftest
import page_test
from PIL import Image
from playwright import sync_api

_HISTORY = ("dinosaur brick", "robot brick", "kite")
_WISH, _CORRECTION = (
  "Something with dinosaurs, but no kites.",
  "Cheaper, and more like the second.",
)
_OPPOSITE = "A kite please, nothing with dinosaurs."
_COLORS = 64


def _opened(
  browser: sync_api.Browser, url: str, height: int, scheme: str
) -> sync_api.Page:
  """The page with a history and a wish."""
  context = browser.new_context(
    viewport={"width": 1200, "height": height}, color_scheme=scheme
  )
  page = context.new_page()
  page.goto(url)
  page.wait_for_selector("#server.ready")
  for query in _HISTORY:
    page_test.add(page, query)
  page_test.say(page, _WISH)
  return page


def _keep(page: sync_api.Page, path: pathlib.Path) -> None:
  """Writes what the window shows, in few colours."""
  page.mouse.move(5, 5)
  image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
  few = image.quantize(_COLORS, Image.Quantize.MEDIANCUT, dither=0)
  few.save(path, optimize=True)


def main() -> None:
  """Makes both."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--url", required=True)
  parser.add_argument("--to", type=pathlib.Path, required=True)
  args = parser.parse_args()
  with sync_api.sync_playwright() as started:
    browser = started.chromium.launch(
      executable_path=conftest.CHROMIUM, args=["--no-sandbox"]
    )
    page = _opened(browser, args.url, 1180, "light")
    page_test.say(page, _CORRECTION)
    page.locator(".ranking summary").first.click()
    _keep(page, args.to / "page.png")
    page = _opened(browser, args.url, 900, "dark")
    page.click(".compare")
    page_test.say(page, _OPPOSITE, lane=1)
    _keep(page, args.to / "page_compared.png")
    browser.close()


if __name__ == "__main__":
  main()
