/** One conversation with its ranking; two stand side by side to compare. */

import { ApiError } from "./api.js";
import { counted, element, signButton } from "./element.js";
import { changes, changesInWords, rankingElements } from "./ranking.js";

const LONGEST_WAIT_S = 30;
const BEGIN =
  "Say a wish, or begin with a history: the best items stand here, each with " +
  "its score and the reasons for it.";

export class Lane {
  /**
   * @param {Object} page
   * @param {Api} page.api
   * @param {Shelf} page.shelf
   * @param {function(Lane): void} page.drawn is called after a new ranking.
   * @param {function(): void} page.askKey
   */
  constructor(page) {
    this._page = page;
    this.turns = []; // {said, answer}: null until there is one.
    this.ranking = null;
    this.failed = false;
    const made = document.getElementById("lane").content.cloneNode(true);
    this.root = made.querySelector(".lane");
    this._text = this._find("textarea");
    this._models = this._find("select");
    this._find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.say(this._text.value);
    });
    this._text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.say(this._text.value);
    });
    this._models.addEventListener("change", () => this.ask());
  }

  /** Names the lane: "" where it is alone. */
  set name(name) {
    this._name = name;
    const id = `lane-title-${name}`;
    const title = this._find("h2");
    title.id = id;
    title.textContent = name ? `Wish ${name}` : "Wish";
    this.root.setAttribute("aria-labelledby", id);
    const text = `lane-text-${name}`;
    this._text.id = text;
    this._find(".ask").htmlFor = text;
    this._drawTurns();
  }

  get name() {
    return this._name;
  }

  set models(names) {
    this._find(".model").hidden = names.length < 2;
    const chosen = this._models.value;
    this._models.replaceChildren(
      ...names.map((name) => element("option", { value: name }, name)),
    );
    if (names.includes(chosen)) this._models.value = chosen;
  }

  get _model() {
    return this._models.length > 1 ? this._models.value : null;
  }

  focus() {
    this._text.focus();
  }

  /** Where there are several models: asks the next one what a lane has asked. */
  askNextModel(lane) {
    if (this._models.length < 2) return;
    this._models.selectedIndex =
      (lane._models.selectedIndex + 1) % this._models.length;
    this.turns = lane.turns.map((turn) => ({ ...turn }));
    this._drawTurns();
    this.ask();
  }

  /** Takes a sentence as the next turn. */
  say(text) {
    const said = text.trim();
    if (!said) {
      this.focus();
      return;
    }
    this._text.value = "";
    this.turns.push({ said, answer: null });
    this._drawTurns();
    this.ask();
  }

  /** Asks for the ranking of what stands there now. */
  async ask() {
    clearTimeout(this._timer);
    this._asked?.abort();
    this.failed = false;
    const { api, shelf } = this._page;
    if (this.turns.length === 0 && shelf.items.length === 0) {
      this._empty();
      return;
    }
    const asked = new AbortController();
    this._asked = asked;
    this._busy(true);
    try {
      const found = await api.recommend(
        shelf.items,
        this._messages(),
        shelf.settings,
        this._model,
        asked.signal,
      );
      if (!asked.signal.aborted) this._take(found);
    } catch (error) {
      if (asked.signal.aborted) return;
      this._busy(false);
      this._fail(error);
    }
  }

  /** Draws the ranking again, against that of the lane beside it. */
  draw(other) {
    if (!this.ranking) return;
    const beside = other?.ranking && {
      name: other.name,
      places: new Map(other.ranking.items.map(({ id }, place) => [id, place])),
    };
    const list = this._find(".ranking");
    const kept = whereReaderIs(list);
    list.replaceChildren(
      ...rankingElements(this.ranking.items, this._changed, beside, {
        take: (item) => this._page.shelf.add(item),
        exclude: (item) => this._page.shelf.exclude(item),
      }),
    );
    kept();
  }

  /** Asks for nothing any more. */
  close() {
    clearTimeout(this._timer);
    this._asked?.abort();
    this.root.remove();
  }

  _find(selector) {
    return this.root.querySelector(selector);
  }

  _messages() {
    const last = this.turns.length - 1;
    return this.turns.flatMap(({ said, answer }, place) => [
      { role: "user", content: said },
      // The newest sentence is what is to be answered.
      ...(answer !== null && place < last
        ? [{ role: "assistant", ...answer }]
        : []),
    ]);
  }

  _take(found) {
    this._changed = changes(found.items, this.ranking?.items ?? null);
    this.ranking = found;
    if (this.turns.length) {
      const items = found.items.map(({ id }) => id);
      this.turns.at(-1).answer = { content: found.content, items };
    }
    this._busy(false);
    this._find(".problem").replaceChildren();
    this._tell(
      found.items.length
        ? [
            `The best ${found.items.length} of ${counted(found.total, "item")},`,
            `in ${Math.max(1, Math.round(found.milliseconds))} ms.`,
            changesInWords(this._changed),
          ].join(" ")
        : "",
      found.warnings,
      found.items.length
        ? ""
        : "Nothing to show. Take a condition back, or widen the settings.",
    );
    this._drawUnderstood(found.understood);
    this._page.drawn(this);
  }

  _empty() {
    this.ranking = null;
    this._busy(false);
    this._find(".ranking").replaceChildren();
    this._tell("", [], BEGIN);
    this._find(".problem").replaceChildren();
    this._drawUnderstood(null);
    this._page.drawn(this);
  }

  /** Says what a ranking is of, what to know of it, and why there is none. */
  _tell(summary, notes, empty) {
    this._find(".summary").textContent = summary;
    this._find(".notes").replaceChildren(
      ...notes.map((note) =>
        element("li", {}, `${note[0].toUpperCase()}${note.slice(1)}.`),
      ),
    );
    this._find(".empty").textContent = empty;
  }

  _busy(busy) {
    const list = this._find(".ranking");
    list.setAttribute("aria-busy", String(busy));
    list.classList.remove("stale");
    if (busy && !this.ranking) {
      this._tell("", [], "");
      list.replaceChildren(
        ...[0, 1, 2].map(() => element("li", { class: "wait" })),
      );
    } else if (!busy && !this.ranking) {
      list.replaceChildren();
    }
  }

  _fail(error) {
    if (!(error instanceof ApiError)) throw error;
    this.failed = true;
    // What stands there is the answer to something else.
    this._find(".ranking").classList.add("stale");
    if (error.status === 401) this._page.askKey();
    if (error.status === 0) {
      // The page says it above, and asks again by itself.
      this._find(".problem").replaceChildren();
      return;
    }
    this._tell("", [], "");
    const wait = error.wait && Math.min(error.wait, LONGEST_WAIT_S);
    if (wait) this._timer = setTimeout(() => this.ask(), 1000 * wait);
    this._find(".problem").replaceChildren(
      element("p", {}, error.message),
      wait
        ? element("p", {}, `It is asked again in ${counted(wait, "second")}.`)
        : element(
            "button",
            { type: "button", click: () => this.ask() },
            "Try again",
          ),
    );
  }

  _drawTurns() {
    const corrects = this.turns.length > 0;
    this._find(".ask").textContent = corrects
      ? "Correct it, or add to it"
      : "What would you like?";
    this._text.placeholder = corrects
      ? "cheaper; no puzzles; more like the second"
      : "Something for two players, not too long";
    this._find(".turns").replaceChildren(
      ...this.turns.map((turn) =>
        element(
          "li",
          {},
          turn.said,
          signButton("×", `Take back: ${turn.said}`, () => this._takeBack(turn)),
        ),
      ),
    );
    this._find(".examples").hidden = corrects;
  }

  _takeBack(turn) {
    this.turns = this.turns.filter((known) => known !== turn);
    this._drawTurns();
    this.focus();
    this.ask();
  }

  _drawUnderstood(understood) {
    const place = this._find(".understood");
    place.hidden = understood === null;
    if (understood === null) return;
    const { kept, dropped, unclear, text } = understood;
    place.querySelector("ul").replaceChildren(
      ...kept.map((chip) =>
        element(
          "li",
          { class: chip.against ? "against" : "", title: chip.words ?? "" },
          chip.text,
          chip.turn === null
            ? null
            : signButton("×", `No longer: ${chip.text}`, () =>
                this._forget(chip),
              ),
        ),
      ),
      ...dropped.map((chip) =>
        element("li", { class: "dropped" }, element("s", {}, chip.text)),
      ),
    );
    place.querySelector("p").textContent = unclear.length
      ? `Not understood: ${unclear.join(", ")}.`
      : kept.length + dropped.length
        ? ""
        : text;
  }

  /** Takes a condition back: by a sentence, or with the turn that said it. */
  _forget({ takeBack, turn }) {
    if (takeBack) this.say(takeBack);
    else this._takeBack(this.turns[turn - 1]);
    this.focus();
  }
}

/**
 * What a reader has opened and where the focus is, in a list that is to be drawn
 * again.
 * @param {HTMLElement} list
 * @returns {function(): void} opens and focuses the same places again.
 */
function whereReaderIs(list) {
  const places = () => [...list.querySelectorAll("li[data-id]")];
  const open = new Set(
    places()
      .filter((place) => place.querySelector("details[open]"))
      .map((place) => place.dataset.id),
  );
  const at = places().findIndex((one) => one.contains(document.activeElement));
  return () => {
    const found = places();
    for (const place of found.filter(({ dataset }) => open.has(dataset.id))) {
      const details = place.querySelector("details");
      if (details) details.open = true;
    }
    if (at < 0) return;
    found[Math.min(at, found.length - 1)]?.querySelector("button").focus();
  };
}
