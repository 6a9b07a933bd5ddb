/** What the recommendations are for: history, settings, items left out. */

import { counted, element, signButton } from "./element.js";

const PAUSE_MS = 150; // Between the last key and the search.

export class Shelf {
  /**
   * @param {function(string, AbortSignal): Promise} search items for a text, and
   *   how many there are.
   * @param {function(): void} changed is called where a ranking is another now.
   */
  constructor(search, changed) {
    this.items = [];
    this.excluded = [];
    this._changed = changed;
    this._box = new SearchBox(search, (item) => this.add(item));
    this._list = document.getElementById("history");
    this._clear = document.getElementById("history-clear");
    this._clear.addEventListener("click", () => this.set([]));
    for (const name of ["count", "price", "category", "stock"]) {
      document.getElementById(name).addEventListener("change", changed);
    }
  }

  /** The settings as `recommend` of api.js takes them. */
  get settings() {
    const text = (name) => document.getElementById(name).value.trim();
    return {
      count: Number(text("count")),
      highestPrice: text("price") === "" ? null : Number(text("price")),
      category: text("category") || null,
      inStock: document.getElementById("stock").checked,
      excluded: this.excluded.map((item) => item.id),
    };
  }

  /** Offers the settings that a catalogue has. */
  set catalog({ categories, has_prices: prices, has_stock: stock }) {
    document.getElementById("price-setting").hidden = !prices;
    document.getElementById("stock-setting").hidden = !stock;
    const field = document.getElementById("category");
    const chosen = field.value;
    field.replaceChildren(
      field.options[0],
      ...[...categories]
        .sort((one, other) => one.localeCompare(other))
        .map((name) => element("option", { value: name }, name)),
    );
    field.value = categories.includes(chosen) ? chosen : "";
  }

  add(item) {
    if (this.items.some((known) => known.id === item.id)) {
      this._box.say(`“${item.title}” is in the history already.`);
      return;
    }
    this.set([...this.items, item]);
    this._box.say(`Added “${item.title}”.`);
  }

  set(items) {
    const cleared = items.length === 0 && this.items.length > 0;
    this.items = items;
    this._draw();
    if (cleared) this._box.focus();
    this._changed();
  }

  exclude(item) {
    this.excluded = [...this.excluded, item];
    this._drawExcluded();
    this._changed();
  }

  _include(item) {
    this.excluded = this.excluded.filter((known) => known.id !== item.id);
    this._drawExcluded();
    this._changed();
  }

  _move(from, to) {
    const items = [...this.items];
    items.splice(to, 0, ...items.splice(from, 1));
    this.set(items);
    // The finger stays on the item: its own button, or the other at the ends.
    const buttons = this._list.children[to].querySelectorAll("button");
    const wanted = buttons[to < from ? 0 : 1];
    (wanted.disabled ? buttons[to < from ? 1 : 0] : wanted).focus();
    this._box.say(`“${items[to].title}” is number ${to + 1} now.`);
  }

  _remove(place) {
    const { title } = this.items[place];
    this.set(this.items.filter((_, other) => other !== place));
    const next = this._list.children[Math.min(place, this.items.length - 1)];
    if (next) next.querySelector("button:last-child").focus();
    this._box.say(`Removed “${title}”.`);
  }

  _draw() {
    const last = this.items.length - 1;
    this._list.replaceChildren(
      ...this.items.map(({ title }, place) => {
        const up = signButton("↑", `Earlier: ${title}`, () =>
          this._move(place, place - 1),
        );
        const down = signButton("↓", `Later: ${title}`, () =>
          this._move(place, place + 1),
        );
        up.disabled = place === 0;
        down.disabled = place === last;
        return element(
          "li",
          {},
          element("span", { class: "title" }, title),
          element(
            "span",
            { class: "do" },
            up,
            down,
            signButton("×", `Remove: ${title}`, () => this._remove(place)),
          ),
        );
      }),
    );
    document.getElementById("history-empty").hidden = last >= 0;
    this._clear.hidden = last < 1;
  }

  _drawExcluded() {
    const place = document.getElementById("excluded");
    place.hidden = this.excluded.length === 0;
    place.querySelector("ul").replaceChildren(
      ...this.excluded.map((item) =>
        element(
          "li",
          {},
          item.title,
          signButton("×", `Allow again: ${item.title}`, () =>
            this._include(item),
          ),
        ),
      ),
    );
  }
}

/** A combobox over the catalogue: arrows, Enter, Escape, or the pointer. */
class SearchBox {
  constructor(search, choose) {
    this._search = search;
    this._choose = choose;
    this._items = [];
    this._at = -1;
    this._input = document.getElementById("search");
    this._list = document.getElementById("found");
    this._note = document.getElementById("found-note");
    this._input.addEventListener("input", () => this._later());
    this._input.addEventListener("keydown", (event) => this._key(event));
    this._input.addEventListener("blur", () => this._close());
  }

  focus() {
    this._input.focus();
  }

  /** Says what happened, to the eye and to screen readers. */
  say(text) {
    this._note.textContent = text;
  }

  _later() {
    clearTimeout(this._timer);
    this._asked?.abort();
    this._waiting = this._eager = false;
    const text = this._input.value.trim();
    if (text === "") {
      this._close();
      this.say("");
      return;
    }
    this._waiting = true;
    this._timer = setTimeout(() => this._find(text), PAUSE_MS);
  }

  async _find(text) {
    const asked = new AbortController();
    this._asked = asked;
    try {
      const { items, total } = await this._search(text, asked.signal);
      if (asked.signal.aborted) return;
      this._waiting = false;
      this._show(items, total, text);
      if (this._eager && items.length) this._take(0);
    } catch (error) {
      if (asked.signal.aborted) return;
      this._waiting = false;
      this._close();
      this.say(error.message);
    }
  }

  _show(items, total, text) {
    this._items = items;
    this._at = -1;
    this._list.replaceChildren(
      ...items.map((item, place) =>
        element(
          "li",
          {
            id: `found-${place}`,
            role: "option",
            "aria-selected": "false",
            // Before the field loses the focus, which closes the list.
            mousedown: (event) => event.preventDefault(),
            click: () => this._take(place),
          },
          item.title,
          ...(item.about.length
            ? [element("div", { class: "soft" }, item.about.join(" · "))]
            : []),
        ),
      ),
    );
    const open = items.length > 0;
    this._list.hidden = !open;
    this._list.scrollTop = 0;
    this._input.setAttribute("aria-expanded", String(open));
    this._input.removeAttribute("aria-activedescendant");
    this.say(
      !open
        ? `Nothing for “${text}”.`
        : total > items.length
          ? `The first ${items.length} of ${counted(total, "item")}`
          : `${counted(total, "item")} found`,
    );
  }

  _close() {
    this._list.hidden = true;
    this._at = -1;
    this._input.setAttribute("aria-expanded", "false");
    this._input.removeAttribute("aria-activedescendant");
  }

  _take(place) {
    const item = this._items[place];
    this._input.value = "";
    this._close();
    this._choose(item);
  }

  _key(event) {
    const open = !this._list.hidden;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && open) {
      event.preventDefault();
      const count = this._items.length;
      // Above the first is the last.
      this._mark((Math.max(this._at, step < 0 ? 0 : -1) + step + count) % count);
    } else if (event.key === "Enter" && this._waiting) {
      event.preventDefault();
      this._eager = true; // The first of what is still being searched for.
    } else if (event.key === "Enter" && open) {
      event.preventDefault();
      this._take(Math.max(this._at, 0));
    } else if (event.key === "Escape") {
      if (!open) this._input.value = "";
      this._close();
    }
  }

  _mark(place) {
    this._at = place;
    [...this._list.children].forEach((option, other) => {
      option.setAttribute("aria-selected", String(other === place));
    });
    const marked = this._list.children[place];
    marked.scrollIntoView({ block: "nearest" });
    this._input.setAttribute("aria-activedescendant", marked.id);
  }
}
