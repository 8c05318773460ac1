// The map of the dataset: loads it, shows what is near the pointer, and chooses by lasso, rectangle or keys.

import { hideCard, showCard } from "./map_card.js";
import { Choice } from "./map_choice.js";
import { Gestures } from "./map_gestures.js";
import { drawLegend } from "./map_legend.js";
import { load } from "./map_points.js";
import { Rings } from "./map_rings.js";
import { MapView } from "./map_view.js";
import { tell } from "./page.js";

const REACH = 12; // pixels from the pointer to an example
const STEP = 60; // pixels that an arrow moves
const POLL = 3000; // milliseconds

/**
 * @param {string} id
 * @returns {any}
 */
const get = (id) => document.getElementById(id);
const view = new MapView(get("map-canvas"));
const choice = new Choice(() => /** @type {any} */ (view.points), view.chosen, () => view.draw(), refresh);
const rings = new Rings(view);
const gestures = new Gestures(view, { chosen: choose, clicked, hovered, left: () => near(-1), moved });
let tag = "";
/** @type {[number, number, number, number] | null} */
let frame = null; // the rectangle: its middle and its half sides
let writing = 0;

/** @param {number} i */
const isShown = (i) => view.isShown(i);

/** Load the map, and load it again while a newer one is made. */
async function follow() {
  let wait = POLL;
  try {
    const state = await renew();
    wait = state === "current" ? 4 * POLL : state === "none" ? 500 : POLL;
  } catch (error) {
    get("map-state").textContent = error instanceof TypeError || !(error instanceof Error) ? "The server does not answer." : error.message;
  }
  setTimeout(follow, document.hidden ? 10 * POLL : wait);
}

/** Load what is new; return the state of the map. */
async function renew() {
  const found = await load(tag);
  if (found.points) {
    const former = view.points;
    const chosen = new Set([...view.chosen].map((member) => former?.paths[member]));
    view.points = found.points;
    view.chosen.clear();
    if (chosen.size) found.points.paths.forEach((path, member) => chosen.has(path) && view.chosen.add(member));
    tag = found.tag;
    get("map").hidden = false;
    near(-1);
    filter(get("map-label").value, false);
    if (!former) restore();
    rings.show(get("map-run")?.value ?? "");
    legend();
    choice.draw();
    view.draw();
  }
  say(found);
  return found.state;
}

async function refresh() {
  await renew().catch(() => tell("The server does not answer."));
}

/** @param {{state: string, progress?: {stage: string, done: number, total: number} | null}} found */
function say({ state, progress }) {
  const points = view.points;
  if (!points) {
    const percent = progress ? ` ${Math.round((100 * progress.done) / (progress.total || 1))} %` : "";
    get("map-state").textContent = `The map is being made: ${progress?.stage ?? "vectors"}${percent}.`;
    return;
  }
  const note = state === "current" ? "" : state === "running" ? " A newer one is being made." : " The dataset has changed since; a newer one follows.";
  const sample = points.isSample ? " This is a sample: the dataset is larger." : "";
  const text = `${points.count.toLocaleString("en")} examples; those that are alike lie near each other.${sample}${note}`;
  if (get("map-state").textContent !== text) get("map-state").textContent = text;
}

function legend() {
  drawLegend(view, filter);
}

/**
 * Show one label only, or all.
 * @param {string} label
 * @param {boolean} redraws
 */
function filter(label, redraws = true) {
  const place = view.points?.labels.indexOf(label) ?? -1;
  view.only = label && place >= 0 ? place : null;
  get("map-label").value = label;
  if (!redraws) return;
  legend();
  moved();
}

/**
 * Show an example next to its place.
 * @param {number} i
 */
function near(i) {
  const points = view.points;
  if (view.marked !== i) view.draw();
  view.marked = i;
  if (i < 0 || !points) return hideCard();
  const uncertainty = points.uncertainty[i];
  const note = uncertainty ? `${uncertainty} % of its nearest have another label` : "";
  return showCard({ source: `/v1/thumbs/${points.ids[i]}?side=128`, label: points.labels[points.label[i]], note, at: view.pixelOf(i) });
}

/**
 * @param {number} clientX
 * @param {number} clientY
 */
function found(clientX, clientY, reach = REACH) {
  const [x, y] = view.placeOf(clientX, clientY);
  return view.points?.nearest(x, y, (reach * view.ratio) / view.scale, isShown) ?? -1;
}

/**
 * @param {number} clientX
 * @param {number} clientY
 */
function hovered(clientX, clientY) {
  near(-1);
  if (!rings.near(clientX, clientY, REACH)) near(found(clientX, clientY));
}

/**
 * @param {number} clientX
 * @param {number} clientY
 * @param {boolean} isTouch
 */
function clicked(clientX, clientY, isTouch) {
  const reach = isTouch ? 24 : REACH;
  const former = rings.marked;
  if (rings.near(clientX, clientY, reach)) {
    near(-1);
    rings.near(clientX, clientY, reach);
    if (!isTouch || former === rings.marked) location.assign(`/review/${rings.run}`); // as below
    return;
  }
  const i = found(clientX, clientY, reach);
  const isSeen = view.marked === i;
  near(i);
  if (i >= 0 && (!isTouch || isSeen)) choice.toggle(i); // a first touch shows, as hovering does
}

/**
 * @param {[number, number][]} corners
 * @param {boolean} adds
 */
function choose(corners, adds) {
  choice.set(view.points?.inside(corners, isShown) ?? [], adds);
  lassoing(false);
  tell(view.chosen.size ? `${view.chosen.size.toLocaleString("en")} chosen; they are listed below the map.` : "No example is inside.");
  if (view.chosen.size) get("map-chosen").focus({ preventScroll: true });
}

/** @param {boolean} isOn */
function lassoing(isOn) {
  gestures.isLasso = isOn;
  get("map-lasso").setAttribute("aria-pressed", String(isOn));
}

/** @param {boolean} isOn */
function framing(isOn) {
  const half = 0.25 / view.scale;
  frame = isOn ? [view.x, view.y, half * view.canvas.width, half * view.canvas.height] : null;
  get("map-frame").setAttribute("aria-pressed", String(isOn));
  if (isOn) {
    get("map-canvas").focus();
    get("map-said").textContent = "A rectangle is in the middle. Arrows move it, with Shift they change its size; Enter chooses.";
  }
  view.lasso = corners();
  view.draw();
}

/** @returns {[number, number][]} */
function corners() {
  if (!frame) return [];
  const [x, y, wide, high] = frame;
  return [[x - wide, y - high], [x + wide, y - high], [x + wide, y + high], [x - wide, y + high]];
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const sides = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const side = /** @type {Record<string, number[]>} */ (sides)[event.key];
  if (side) {
    const step = (STEP * view.ratio) / view.scale / (frame ? 3 : 1);
    if (frame) {
      const at = event.shiftKey ? 2 : 0;
      frame[at] = event.shiftKey ? Math.max(step, frame[at] + side[0] * step) : frame[at] + side[0] * step;
      frame[at + 1] = event.shiftKey ? Math.max(step, frame[at + 1] - side[1] * step) : frame[at + 1] + side[1] * step;
      view.lasso = corners();
      view.draw();
    } else {
      view.move(-side[0] * STEP, -side[1] * STEP);
      middle();
      moved();
    }
  } else if (event.key === "Enter" && frame) {
    const chosen = corners();
    framing(false);
    choose(chosen, false);
  } else if (event.key === "Enter") {
    if (view.marked < 0) middle();
    if (view.marked >= 0) choice.toggle(view.marked);
  } else if (event.key === "Escape" && (frame || gestures.isLasso)) {
    framing(false);
    lassoing(false);
  } else return;
  event.preventDefault();
}

/** Show the example nearest to the middle, and say its label. */
function middle() {
  const points = view.points;
  const sight = Math.max(view.canvas.width, view.canvas.height) / 2 / view.scale;
  const i = points?.nearest(view.x, view.y, sight, isShown) ?? -1;
  near(i);
  get("map-said").textContent = points && i >= 0 ? points.labels[points.label[i]] : "no example in sight";
}

/** @param {number} factor */
function zoom(factor) {
  view.zoomAt(factor, [view.x, view.y]);
  moved();
}

/** Put the view into the address, a little later. */
function moved() {
  if (view.marked >= 0) near(view.marked);
  else hideCard();
  view.draw();
  clearTimeout(writing);
  writing = setTimeout(() => {
    const label = view.only === null ? "" : get("map-label").value;
    const values = { x: view.x.toFixed(3), y: view.y.toFixed(3), zoom: view.zoom.toFixed(2), color: view.color, ...(label && { label }), ...(rings.run && { run: rings.run }) };
    const address = `/map?${new URLSearchParams(values)}`;
    history.replaceState(null, "", address);
    document.querySelectorAll("[data-undo] [name=then]").forEach((field) => field.setAttribute("value", address));
  }, 200);
}

/** Take the view from the address. */
function restore() {
  const asked = new URLSearchParams(location.search);
  const number = (/** @type {string} */ name) => (asked.has(name) && Number.isFinite(Number(asked.get(name))) ? Number(asked.get(name)) : null);
  view.fit();
  view.x = number("x") ?? view.x;
  view.y = number("y") ?? view.y;
  view.zoom = Math.max(0.5, Math.min(400, number("zoom") ?? 1));
  view.color = asked.get("color") === "uncertainty" ? "uncertainty" : "label";
  get("map-color").value = view.color;
  filter(asked.get("label") ?? "", false);
  if (get("map-run")) get("map-run").value = [...get("map-run").options].find(({ value }) => value === asked.get("run"))?.value ?? "";
}

get("map-color").addEventListener("change", (/** @type {any} */ event) => {
  view.color = event.target.value;
  legend();
  moved();
});
get("map-run")?.addEventListener("change", async (/** @type {any} */ event) => {
  await rings.show(event.target.value);
  moved();
});
addEventListener("pageshow", ({ persisted }) => persisted && rings.show(rings.run)); // back from the review
get("map-label").addEventListener("input", (/** @type {any} */ event) => filter(event.target.value));
get("map-lasso").addEventListener("click", () => lassoing(!gestures.isLasso));
get("map-frame").addEventListener("click", () => framing(!frame));
get("map-in").addEventListener("click", () => zoom(1.5));
get("map-out").addEventListener("click", () => zoom(1 / 1.5));
get("map-fit").addEventListener("click", () => [view.fit(), moved()]);
view.canvas.addEventListener("keydown", pressed);
new ResizeObserver(() => view.draw()).observe(view.canvas);
view.dark.addEventListener("change", () => {
  if (view.points) legend();
  view.draw();
});
view.drawn = () => {
  view.canvas.dataset.sight = String(view.inSight);
};
follow();
