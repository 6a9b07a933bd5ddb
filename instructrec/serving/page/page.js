/** Puts the page together: server, shelf, and one lane or two. */

import { Api, ApiError } from "./api.js";
import { counted, element } from "./element.js";
import { Lane } from "./lane.js";
import { Shelf } from "./shelf.js";

const POLL_MS = 3_000;
const SAMPLE = 60; // Items among which the examples are looked for.

const lanes = [];
let models = [];
let examples = [];
let polling = false;

const api = new Api(showReached);
const shelf = new Shelf(
  (text, signal) => api.items(text, signal),
  () => lanes.forEach((lane) => lane.ask()),
);

function addLane() {
  const lane = new Lane({ api, shelf, drawn: drawLanes, askKey });
  lanes.push(lane);
  document.getElementById("lanes").append(lane.root);
  lane.root
    .querySelector(".compare")
    .addEventListener("click", () => {
      const beside = addLane();
      beside.askNextModel(lane);
      beside.focus();
    });
  lane.root
    .querySelector(".close")
    .addEventListener("click", () => removeLane(lane));
  lane.models = models;
  drawExamples(lane);
  nameLanes();
  lane.ask();
  return lane;
}

function removeLane(lane) {
  lanes.splice(lanes.indexOf(lane), 1);
  lane.close();
  nameLanes();
  drawLanes();
  lanes[0].focus();
}

function nameLanes() {
  lanes.forEach((lane, place) => {
    lane.name = lanes.length > 1 ? "AB"[place] : "";
    lane.root.querySelector(".compare").hidden = lanes.length > 1;
    lane.root.querySelector(".close").hidden = lanes.length === 1;
  });
}

function drawLanes() {
  lanes.forEach((lane, place) => lane.draw(lanes[1 - place] ?? null));
}

function drawExamples(lane) {
  lane.root.querySelector(".examples").replaceChildren(
    ...examples.map(({ label, choose }) =>
      element(
        "button",
        {
          type: "button",
          click: () => {
            choose(lane);
            lane.focus();
          },
        },
        label,
      ),
    ),
  );
}

/** Examples of this catalogue: items of one category, and wishes about them. */
function makeExamples(items) {
  const kind = (item) => item.attributes?.categories?.at(-1);
  const first = items.find(kind);
  if (!first) return [];
  const alike = items.filter((item) => kind(item) === kind(first)).slice(0, 3);
  const wish = (label) => ({ label, choose: (lane) => lane.say(label) });
  const { brand } = first.attributes;
  return [
    {
      label: `History: ${counted(alike.length, "item")} of ${kind(first)}`,
      choose: () => shelf.set(alike),
    },
    wish(`${kind(first)}, please.`),
    wish(`No ${kind(first)} this time.`),
    ...(brand ? [wish(`Anything but ${brand}.`)] : []),
  ];
}

async function start() {
  try {
    const [info, names, { items }] = await Promise.all([
      api.info(),
      api.models(),
      api.items("", null, SAMPLE),
    ]);
    models = names;
    examples = makeExamples(items);
    showServer(info);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) askKey();
    else if (error.status !== 0) poll();
    showServer(null, error.status === 401 ? "A key is needed" : error.message);
    return;
  }
  lanes.forEach((lane) => {
    lane.models = models;
    drawExamples(lane);
    if (lane.failed) lane.ask();
  });
}

function showServer(info, problem = "") {
  const state = document.getElementById("server");
  state.className = info ? "ready" : "away";
  state.textContent = info
    ? [
        `${info.model}, ${info.checkpoint}`,
        counted(info.catalog.items, "item"),
        `InstructRec ${info.version}`,
      ].join(" · ")
    : problem;
  state.title = info ? `Scores: ${info.scale}` : "";
  if (info) shelf.catalog = info.catalog;
}

function showReached(reached) {
  const notice = document.getElementById("notice");
  if (reached) {
    notice.hidden = true;
    return;
  }
  notice.textContent = navigator.onLine
    ? "The server does not answer. What you see stays; it is asked again by itself."
    : "You are offline. What you see stays; the server is asked again by itself.";
  notice.hidden = false;
  poll();
}

/** Asks until the server takes requests, then for what is missing. */
async function poll() {
  if (polling) return;
  polling = true;
  showServer(null, "The server is away");
  do {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  } while (!(await api.ready()));
  polling = false;
  await start();
}

function askKey() {
  document.getElementById("key").hidden = false;
  document.querySelector("#key label").textContent = api.key
    ? "This server has no such key."
    : "This server asks for a key.";
  document.getElementById("key-text").focus();
}

document.getElementById("key").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("key-text");
  api.key = field.value;
  field.value = "";
  document.getElementById("key").hidden = true;
  start();
});

addLane();
start();
