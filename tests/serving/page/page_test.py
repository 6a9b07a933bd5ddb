"""The page in a browser, against answers as docs/serving.md has them."""

import os
import pathlib
import re
import time

import pytest

pytestmark = pytest.mark.slow


def titles(page, lane=0):
  return (
    page.locator(".lane").nth(lane).locator(".ranking .title").all_inner_texts()
  )


def chips(page):
  texts = page.locator(".understood li").all_inner_texts()
  return [text.split("\n")[0] for text in texts]


def text_of(page, selector):
  return page.locator(selector).inner_text()


def until(page, condition):
  """Waits; the page's policy lets Playwright evaluate no text by itself."""
  for _ in range(600):
    if condition():
      return
    page.wait_for_timeout(50)
  raise AssertionError(page.inner_text("body"))


def add(page, query):
  """Searches for an item and takes the first that is found."""
  before = page.locator("#history li").count()
  page.fill("#search", query)
  page.wait_for_selector("#found li")
  page.keyboard.press("Enter")
  page.wait_for_selector(f"#history li:nth-child({before + 1})")


def say(page, sentence, lane=0):
  """Says a sentence and waits until it is answered."""
  found = page.locator(".lane").nth(lane)
  turns = found.locator(".turns li").count()
  found.locator("textarea").fill(sentence)
  found.locator("textarea").press("Enter")
  found.locator(f".turns li:nth-child({turns + 1})").wait_for()
  found.locator('.ranking[aria-busy="false"] > li').first.wait_for()


def test_search_history_and_ranking(page, shop):
  page.fill("#search", "lumen")
  page.wait_for_selector("#found li")
  assert page.locator("#found li").count() == 8
  assert text_of(page, "#found-note") == "8 items found"
  page.click("#found li:nth-child(2)")
  assert titles_of_history(page) == ["Lumen Board Game 5"]
  add(page, "corvine puzzle")
  # Its newest question is for both, and neither is recommended.
  until(page, lambda: len(shop.asked) == 2)
  page.wait_for_selector('.ranking[aria-busy="false"] .title')
  assert shop.asked[-1]["history"] == ["id:5", "id:0"]
  assert len(titles(page)) == 10
  assert not {"Lumen Board Game 5", "Corvine Puzzle 0"} & {*titles(page)}
  page.get_by_role("button", name="Earlier: Corvine Puzzle 0").click()
  assert titles_of_history(page) == ["Corvine Puzzle 0", "Lumen Board Game 5"]
  page.get_by_role("button", name="Remove: Corvine Puzzle 0").click()
  assert titles_of_history(page) == ["Lumen Board Game 5"]
  # Faster than the search: Enter is for what was typed, not for older items.
  page.fill("#search", "corvine")
  page.wait_for_selector("#found li")
  page.fill("#search", "lumen puzzle 14")
  page.keyboard.press("Enter")
  page.wait_for_selector("#history li:nth-child(2)")
  assert titles_of_history(page)[1] == "Lumen Puzzle 14"
  page.fill("#search", "o")
  until(page, lambda: "first 12 of" in text_of(page, "#found-note"))
  page.fill("#search", "no such thing")
  nothing = "Nothing for “no such thing”."
  until(page, lambda: text_of(page, "#found-note") == nothing)


def titles_of_history(page):
  return page.locator("#history .title").all_inner_texts()


def test_a_correction_moves_items_and_says_what_moved(page, shop):
  say(page, "Puzzles, please.")
  first = titles(page)
  assert first[:2] == ["Corvine Puzzle 0", "Lumen Puzzle 2"]
  say(page, "No corvine.")
  assert titles(page)[0] == "Lumen Puzzle 2"
  ids = {item["title"]: item["id"] for item in shop.items}
  lines = [f"{n}. {title}" for n, title in enumerate(first, 1)]
  assert shop.asked[-1]["messages"] == [
    {"role": "user", "content": "Puzzles, please."},
    {
      "role": "assistant",
      "content": "\n".join(lines),
      "items": [ids[title] for title in first],
    },
    {"role": "user", "content": "No corvine."},
  ]
  places = dict(zip(first, range(len(first)), strict=True))
  moves = page.locator(".ranking .move").all_inner_texts()
  for place, (title, move) in enumerate(zip(titles(page), moves, strict=True)):
    gained = places[title] - place if title in places else None
    expected = {None: "new", 0: "as before"}.get(gained)
    if expected is None:
      expected = f"▲ up {gained}" if gained > 0 else f"▼ down {-gained}"
    assert move == expected, title
  assert "Changed:" in text_of(page, ".summary")
  assert chips(page) == ["Puzzles", "no Corvine"]
  # Taken back, the first ranking stands there again.
  page.get_by_role("button", name="Take back: No corvine.").click()
  until(page, lambda: not page.locator(".against").count())
  assert titles(page) == first


def test_each_item_says_why(page):
  say(page, "Puzzles, no corvine")
  first = page.locator(".ranking details").first
  assert first.locator("summary").inner_text() == ("Why: ✓ Puzzles")
  assert not first.locator("ul").first.is_visible()
  first.locator("summary").press("Enter")
  lines = first.locator("li").all_inner_texts()
  assert [line.replace("\n", " ") for line in lines] == [
    "What raised it above the average item, in nats",
    "the word “Puzzles” +0.12",
    "What was asked",
    "✓ Puzzles",
    "✓ no Corvine",
    "What its score is made of, in nats",
    "how it fits the history and the wish +0.70",
  ]
  # What is open stays open, and the focus where it was, when it moves.
  leave = page.get_by_role("button", name="Leave out: Lumen Puzzle 8")
  leave.press("Enter")
  until(page, lambda: "Lumen Puzzle 8" not in titles(page))
  assert page.locator(".ranking details[open]").count() == 1
  focused = "document.activeElement.closest('li').dataset.id"
  assert page.evaluate(focused) == "10"


def test_a_condition_is_taken_back_and_shown_as_gone(page, shop):
  say(page, "Puzzles")
  say(page, "No corvine")
  page.get_by_role("button", name="No longer: no Corvine").click()
  page.wait_for_selector(".dropped")
  assert shop.asked[-1]["messages"][-1]["content"] == "Forget about Corvine."
  assert page.locator(".dropped s").inner_text() == "Corvine"
  assert titles(page)[0] == "Corvine Puzzle 0"
  say(page, "Something purple")
  assert "Not understood: “Something purple”." in text_of(page, ".understood")
  assert chips(page)[0] == "Puzzles"


def test_settings_and_what_is_left_out(page, shop):
  say(page, "Lumen")
  page.get_by_role(
    "button", name="Leave out: Lumen Puzzle 2", exact=True
  ).click()
  page.wait_for_selector("#excluded li")
  page.click("summary:has-text('Settings')")
  page.fill("#price", "12.5")
  page.select_option("#count", "5")
  page.select_option("#category", "Puzzles")
  page.check("#stock")
  until(page, lambda: len(titles(page)) == 3)
  assert shop.asked[-1]["k"] == 5
  assert shop.asked[-1]["filters"] == {
    "exclude": ["id:2"],
    "price_max": 12.5,
    "category": ["Puzzles"],
    "in_stock": True,
  }
  page.get_by_role("button", name="Allow again: Lumen Puzzle 2").click()
  until(page, lambda: titles(page)[0] == "Lumen Puzzle 2")


def test_two_wishes_side_by_side(page, shop):
  say(page, "Puzzles")
  page.click(".compare")
  assert page.evaluate(
    "document.activeElement === document.querySelectorAll('textarea')[1]"
  )
  say(page, "Board Games", lane=1)
  left, right = titles(page), titles(page, 1)
  assert not {*left} & {*right}
  box = [page.locator(".lane").nth(n).bounding_box() for n in (0, 1)]
  assert box[0]["y"] == box[1]["y"]
  assert box[0]["x"] + box[0]["width"] < box[1]["x"]
  assert page.get_by_text("not in B").count() == len(left)
  # One history for both: each is asked anew.
  asked = len(shop.asked)
  add(page, "lumen")
  until(page, lambda: not page.locator("[aria-busy=true]").count())
  texts = [body["messages"][0]["content"] for body in shop.asked[asked:]]
  assert sorted(texts) == ["Board Games", "Puzzles"]
  page.locator(".close").first.click()
  assert page.locator(".lane").count() == 1
  assert page.locator(".turns li").all_inner_texts()[0].startswith("Board")


def test_two_models_side_by_side(page, shop):
  shop.models = ["shop", "other"]
  page.reload()
  page.wait_for_selector(".model select:visible")
  page.select_option(".model select", "other")
  say(page, "Puzzles")
  first = shop.asked[-1]
  assert first["model"] == "other"
  page.locator(".compare:visible").click()
  page.wait_for_selector(".lane:nth-child(2) .ranking li")
  assert page.locator(".lane .turns li").count() == 2
  (before, again) = (one["messages"][0] for one in (first, shop.asked[-1]))
  assert again == before
  assert shop.asked[-1]["model"] == "shop"


def test_examples_are_of_this_catalogue(page):
  labels = page.locator(".examples button").all_inner_texts()
  assert labels[0] == "History: 3 items of Puzzles"
  page.locator(".examples button").first.click()
  assert len(titles_of_history(page)) == 3
  page.get_by_role("button", name="No Puzzles this time.").click()
  page.wait_for_selector(".understood li")
  assert page.locator(".examples button:visible").count() == 0


def test_a_title_is_text(page, shop):
  hostile = shop.hostile
  add(page, "<img")
  assert titles_of_history(page) == [hostile]
  page.get_by_role("button", name=f"Remove: {hostile}").click()
  say(page, hostile)
  assert hostile in page.locator(".turns li").inner_text()
  say(page, "Board Games")
  assert hostile in titles(page)
  assert page.locator("main img").count() == 0
  assert page.title() == "InstructRec"


def test_an_error_is_said_and_tried_again(page, shop):
  shop.refusals.append(shop.refusal(422, "k is 0, expected 1 or more"))
  page.fill("textarea", "Puzzles")
  page.keyboard.press("Enter")
  page.wait_for_selector(".problem p")
  assert text_of(page, ".problem p") == "k is 0, expected 1 or more"
  page.get_by_role("button", name="Try again").click()
  page.wait_for_selector(".ranking .title")
  assert page.locator(".problem p").count() == 0
  # Full: asked again by itself, when the server said.
  shop.refusals.append(
    shop.refusal(429, "the queue is full", **{"Retry-After": "1"})
  )
  asked = len(shop.asked)
  page.fill("textarea", "Corvine")
  page.keyboard.press("Enter")
  page.wait_for_selector(".problem p")
  until(page, lambda: not page.locator(".problem p").count())
  assert len(shop.asked) == asked + 1


def test_a_key_is_asked_for(page, shop):
  shop.key = "open sesame"
  page.reload()
  page.wait_for_selector("#key:visible")
  assert "asks for a key" in text_of(page, "#key")
  page.fill("#key-text", "sesame")
  page.keyboard.press("Enter")
  until(page, lambda: "no such key" in text_of(page, "#key"))
  page.fill("#key-text", "open sesame")
  page.keyboard.press("Enter")
  page.wait_for_selector("#server.ready")
  say(page, "Puzzles")
  assert titles(page)[0] == "Corvine Puzzle 0"
  assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_offline_what_is_there_stays_and_it_goes_on(page):
  say(page, "Puzzles")
  before = titles(page)
  page.context.set_offline(True)
  page.fill("textarea", "No corvine")
  page.keyboard.press("Enter")
  page.wait_for_selector("#notice:visible")
  assert "You are offline" in text_of(page, "#notice")
  assert titles(page) == before
  page.context.set_offline(False)
  page.wait_for_selector(".against")
  page.wait_for_selector("#notice", state="hidden")
  assert titles(page) != before


def test_the_last_question_wins(page, shop, monkeypatch):
  """A slow answer to what is no longer asked is not drawn."""
  ranked = shop._ranked

  def slow(body, sentences):
    if sentences == ["Slow puzzles"]:
      time.sleep(1)
    return ranked(body, sentences)

  monkeypatch.setattr(shop, "_ranked", slow)
  page.fill("textarea", "Slow puzzles")
  page.keyboard.press("Enter")
  page.wait_for_selector(".ranking .wait")
  say(page, "Board Games")
  page.wait_for_timeout(1200)
  assert chips(page) == ["Puzzles", "Board Games"]


def test_keyboard_alone(page):
  def focused():
    return page.evaluate(
      "document.activeElement.id || document.activeElement.textContent.trim()"
      " || document.activeElement.tagName"
    )

  page.keyboard.press("Tab")
  assert focused() == "Skip to the recommendations"
  outline = page.evaluate(
    "getComputedStyle(document.activeElement).outlineStyle"
  )
  assert outline == "solid"
  page.keyboard.press("Tab")
  assert focused() == "search"
  page.keyboard.type("oakline")
  page.wait_for_selector("#found li")
  page.keyboard.press("ArrowDown")
  page.keyboard.press("ArrowDown")
  field = page.locator("#search")
  assert field.get_attribute("aria-activedescendant") == "found-1"
  assert field.get_attribute("aria-expanded") == "true"
  page.keyboard.press("Enter")
  assert titles_of_history(page) == ["Oakline Puzzle 4"]
  assert field.get_attribute("aria-expanded") == "false"
  page.keyboard.type("oakline")
  page.wait_for_selector("#found li")
  page.keyboard.press("Escape")
  assert page.locator("#found").is_hidden()
  page.keyboard.press("Escape")
  assert field.input_value() == ""
  # Earlier and later of a single item are off: its next stop is to remove it.
  page.keyboard.press("Tab")
  page.keyboard.press("Enter")
  assert titles_of_history(page) == []
  seen = []
  while "TEXTAREA" not in seen:
    page.keyboard.press("Tab")
    seen.append(page.evaluate("document.activeElement.tagName"))
    assert len(seen) < 9
  page.keyboard.type("Puzzles")
  page.keyboard.press("Enter")
  page.wait_for_selector(".ranking .title")
  assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_and_can_be_read(browser, address, width, scheme):
  context = browser.new_context(
    viewport={"width": width, "height": 800}, color_scheme=scheme
  )
  page = context.new_page()
  page.goto(address)
  page.wait_for_selector("#server.ready")
  add(page, "<img")
  say(page, "Puzzles, no corvine")
  page.click(".compare")
  say(page, "Board Games", lane=1)
  assert page.evaluate("document.documentElement.scrollWidth") <= width
  back, text = page.evaluate(
    "['backgroundColor', 'color'].map("
    "(name) => getComputedStyle(document.body)[name])"
  )
  light = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (back, text)]
  assert (light[0] > light[1]) == (scheme == "light")
  # axe-core is no part of this repository: npm pack axe-core.
  script = os.environ.get("INSTRUCTREC_AXE")
  if script:
    page.evaluate(pathlib.Path(script).read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], one["impact"]) for one in found] == []
  context.close()
