/** A ranking as a list, with what moved since the last one. */

import { element, signButton } from "./element.js";

const GONE = 5; // Titles that are named of those that are gone.

/**
 * How a ranking differs from the one before it.
 * @param {Array<{id: string, title: string}>} items
 * @param {?Array<{id: string, title: string}>} before null for the first.
 * @returns {{moves: Map<string, ?number>, gone: Array}} places gained by each
 *   item, null for a new one; items that are no longer there.
 */
export function changes(items, before) {
  const places = new Map((before ?? []).map(({ id }, place) => [id, place]));
  const now = new Set(items.map(({ id }) => id));
  const moves = new Map();
  if (before) {
    items.forEach(({ id }, place) => {
      moves.set(id, places.has(id) ? places.get(id) - place : null);
    });
  }
  return { moves, gone: (before ?? []).filter(({ id }) => !now.has(id)) };
}

/** What changed, in one sentence; "" for a first ranking. */
export function changesInWords({ moves, gone }) {
  if (moves.size === 0 && gone.length === 0) return "";
  const gained = [...moves.values()];
  const up = gained.filter((move) => move > 0).length;
  const down = gained.filter((move) => move < 0).length;
  const fresh = gained.filter((move) => move === null).length;
  const parts = [
    fresh && `${fresh} new`,
    up && `${up} up`,
    down && `${down} down`,
    gone.length && `${gone.length} gone`,
  ].filter(Boolean);
  return parts.length ? `Changed: ${parts.join(", ")}.` : "Nothing moved.";
}

/**
 * The elements of a ranking.
 * @param {Array} items as api.js gives them.
 * @param {{moves: Map, gone: Array}} changed
 * @param {?{name: string, places: Map<string, number>}} other the ranking
 *   beside it.
 * @param {{take: function(Object), exclude: function(Object)}} actions
 * @returns {Array<HTMLElement>}
 */
export function rankingElements(items, changed, other, actions) {
  const scores = items.map(({ score }) => score);
  const best = Math.max(...scores);
  const least = Math.min(0, ...scores);
  const made = items.map((item, place) =>
    element(
      "li",
      { "data-id": item.id },
      element("span", { class: "place" }, String(place + 1)),
      element("span", { class: "title" }, item.title),
      element(
        "span",
        { class: "do" },
        signButton("+", `Add to the history: ${item.title}`, () =>
          actions.take(item),
        ),
        signButton("×", `Leave out: ${item.title}`, () =>
          actions.exclude(item),
        ),
      ),
      element(
        "span",
        { class: "about soft" },
        scoreElement(item.score, (item.score - least) / (best - least || 1)),
        ...moveElements(changed.moves, item.id),
        ...otherElements(other, item.id),
        ...(item.about.length ? [item.about.join(" · ")] : []),
      ),
      whyElement(item.why),
    ),
  );
  if (changed.gone.length) {
    const more = changed.gone.length - GONE;
    const titles = [
      ...changed.gone.slice(0, GONE).map(({ title }) => title),
      ...(more > 0 ? [`${more} more`] : []),
    ].join("; ");
    made.push(
      element(
        "li",
        { class: "gone" },
        element("span"),
        element("span", { class: "soft" }, `No longer here: ${titles}`),
      ),
    );
  }
  return made;
}

function scoreElement(score, share) {
  const filled = element("i");
  filled.style.setProperty("--share", `${Math.round(100 * share)}%`);
  return element(
    "span",
    { class: "score" },
    element("span", { class: "bar", "aria-hidden": "true" }, filled),
    element("span", { class: "unseen" }, "score "),
    score.toLocaleString("en", {
      minimumSignificantDigits: 3,
      maximumSignificantDigits: 3,
    }),
  );
}

function moveElements(moves, id) {
  if (!moves.has(id)) return [];
  const move = moves.get(id);
  const [kind, text] =
    move === null
      ? ["new", "new"]
      : move > 0
        ? ["up", `▲ up ${move}`]
        : move < 0
          ? ["down", `▼ down ${-move}`]
          : ["same", "as before"];
  return [element("span", { class: `move ${kind}` }, text)];
}

function otherElements(other, id) {
  if (!other) return [];
  const place = other.places.get(id);
  const text =
    place === undefined
      ? `not in ${other.name}`
      : `no. ${place + 1} in ${other.name}`;
  return [element("span", {}, text)];
}

/** Why an item is here: lines in words, and what each is worth. */
function whyElement({ short, effects, meets, parts }) {
  if (![effects, meets, parts].some(({ length }) => length)) return null;
  return element(
    "details",
    {},
    element("summary", {}, short.length ? `Why: ${short.join(" · ")}` : "Why"),
    listElement("What raised it above the average item, in nats", effects),
    listElement("What was asked", meets),
    listElement("What its score is made of, in nats", parts),
  );
}

function listElement(title, lines) {
  if (!lines.length) return null;
  return element(
    "ul",
    { "aria-label": title },
    element("li", { class: "name", "aria-hidden": "true" }, title),
    ...lines.map(({ words, value }) =>
      element(
        "li",
        {},
        element("span", {}, words),
        value === null
          ? null
          : element("span", { class: "value" }, signed(value)),
      ),
    ),
  );
}

function signed(value) {
  const digits = Math.abs(value).toFixed(2);
  return (value < 0 ? "\u2212" : "+") + digits;
}
