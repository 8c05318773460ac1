// Drawing: what a person sees of the review. Texts are only ever set as text.

import { thumb } from "./review_queue.js";

const NEIGHBORS = 3; // of a label
/** @type {Record<string, string>} */
const HEADLINES = {
  new_class: "Nothing like it in this dataset",
  proposal: "A new label?",
  compete: "Labels compete",
  near_threshold: "Just below the threshold",
};
/** @type {Record<string, string>} */
const KINDS = { new_class: "Nothing like it", proposal: "New label?", compete: "Labels compete", near_threshold: "Nearly certain" };
/** @type {[number, string][]} */
const WORDS = [
  [0.97, "almost certainly"],
  [0.8, "probably"],
  [0.5, "perhaps"],
  [0, "a guess:"],
];

/** @param {string} id */
export function get(id) {
  return /** @type {any} */ (document.getElementById(id));
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {(Node | string)[]} children
 */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Invisible and direction-changing characters of foreign text become visible. @param {string} text */
export function shown(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
  });
}

/** @param {number} value */
export function percent(value) {
  return `${Math.round(100 * value)} %`;
}

/** @param {number} score */
export function words(score) {
  return WORDS.find(([least]) => score >= least)?.[1] ?? "";
}

/**
 * @param {string | null} id
 * @param {string} label
 */
export function neighborImage(id, label) {
  if (id === null) return make("span", { className: "gone", title: "removed meanwhile" });
  return make("img", { src: `/v1/thumbs/${id}?side=128`, alt: shown(label), width: 44, height: 44 });
}

/**
 * Draw the item in sight, its group and the answers.
 * @param {import("./review_queue.js").ReviewQueue} queue
 * @param {{isCalibrated: boolean, isReadOnly: boolean, choose: (label: string) => void, go: (position: number) => void,
 *   goGroup: (place: number) => void}} on
 */
export function draw(queue, on) {
  const item = queue.item;
  const group = queue.group;
  const isOpen = item !== undefined && group !== undefined;
  for (const id of ["stage", "answers", "groups"]) get(id).hidden = !isOpen;
  if (!isOpen) return;
  get("done").hidden = true;
  drawItem(queue, item, group, on.isCalibrated);
  drawChoices(item, group, on.isReadOnly, on.choose);
  drawStrip(queue, on.go);
  drawGroups(queue, on.goGroup);
}

/** Groups that `discover` would propose are told from single images that are like nothing. @param {import("./review_queue.js").Group} group */
function kindOf(group) {
  return group.kind === "new_class" && group.is_proposal ? "proposal" : group.kind;
}

/**
 * A proposal may be a look of a known label that the dataset lacks.
 * @param {import("./review_queue.js").Group} group
 * @param {string} words
 */
function lookOf(group, words) {
  return kindOf(group) === "proposal" && group.nearest_label !== null ? `${words} ${shown(group.nearest_label)}?` : "";
}

/**
 * @param {import("./review_queue.js").ReviewQueue} queue
 * @param {import("./review_queue.js").Item} item
 * @param {import("./review_queue.js").Group} group
 * @param {boolean} isCalibrated
 */
function drawItem(queue, item, group, isCalibrated) {
  const current = get("current");
  const image = queue.image(item);
  if (current.firstChild !== image) current.replaceChildren(image);
  current.dataset.item = String(item.id);
  image.alt = shown(item.name);
  const best = item.candidates[0];
  const isKnown = group.kind !== "new_class" && best;
  get("headline").textContent =
    isKnown && isCalibrated ? `${words(best.score)} ${shown(best.label)}` : [HEADLINES[kindOf(group)], lookOf(group, "Or a look of")].join(" ").trim();
  get("why").textContent = shown(item.why);
  get("name").textContent = shown(item.name);
  const count = queue.all(group).length;
  const whole = get("whole"); // not there on a server that only reads
  if (!whole) return;
  whole.hidden = count < 2;
  whole.querySelector("span").textContent = `All ${count} are…`;
}

/**
 * @param {import("./review_queue.js").Item} item
 * @param {import("./review_queue.js").Group} group
 * @param {boolean} isReadOnly
 * @param {(label: string) => void} choose
 */
function drawChoices(item, group, isReadOnly, choose) {
  const first = item.candidates[0]?.label;
  const rows = group.labels.map((label, place) => {
    const candidate = item.candidates.find((other) => other.label === label);
    const neighbors = (candidate?.neighbors ?? []).slice(0, NEIGHBORS);
    const images = make("span", { className: "neighbors" }, ...neighbors.map((one) => neighborImage(one.id, "")));
    images.setAttribute("aria-hidden", "true");
    const keys = make("span", { className: "keys" });
    if (!isReadOnly) keys.append(make("kbd", { textContent: String(place + 1) }));
    if (label === first && !isReadOnly) keys.append(make("kbd", { textContent: "Enter" }));
    const score = make("span", { className: "number quiet", textContent: candidate ? percent(candidate.score) : "" });
    const name = make("span", { className: "label", textContent: shown(label) });
    const button = make("button", { type: "button", disabled: isReadOnly, onclick: () => choose(label) }, keys, name, score, images);
    button.classList.toggle("best", label === first);
    return make("li", {}, button);
  });
  get("choices").replaceChildren(...rows);
}

/**
 * @param {import("./review_queue.js").ReviewQueue} queue
 * @param {(position: number) => void} go
 */
function drawStrip(queue, go) {
  const items = queue.left();
  const strip = get("strip");
  strip.hidden = items.length < 2;
  const kept = new Map([...strip.children].map((row) => [row.dataset.item, row]));
  const rows = items.map((item, position) => {
    const row = kept.get(String(item.id)) ?? stripRow(item);
    const button = row.firstChild;
    button.onclick = () => go(position);
    if (position === queue.position) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    return row;
  });
  strip.replaceChildren(...rows);
}

/** @param {import("./review_queue.js").Item} item */
function stripRow(item) {
  const image = make("img", { src: thumb(item, 128), alt: shown(item.name), width: 52, height: 52 });
  const row = make("li", {}, make("button", { type: "button" }, image));
  row.dataset.item = String(item.id);
  return row;
}

/**
 * @param {import("./review_queue.js").ReviewQueue} queue
 * @param {(place: number) => void} goGroup
 */
function drawGroups(queue, goGroup) {
  const list = get("groups");
  const kept = new Map([...list.children].map((button) => [button.dataset.shown, button]));
  const buttons = [];
  for (const [place, group] of queue.groups.entries()) {
    const items = queue.left(group);
    if (!items.length) continue;
    const first = String(items[0].id);
    const shows = `${kindOf(group)} ${first}`;
    const button = kept.get(shows) ?? groupButton(items[0], group);
    button.dataset.first = first;
    button.dataset.shown = shows;
    button.querySelector(".size").textContent = String(queue.all(group).length);
    button.onclick = () => goGroup(place);
    if (place === queue.place) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    buttons.push(button);
  }
  list.replaceChildren(...buttons);
}

/**
 * @param {import("./review_queue.js").Item} item
 * @param {import("./review_queue.js").Group} group
 */
function groupButton(item, group) {
  const label = group.suggested_label === null ? lookOf(group, "like") : shown(group.suggested_label);
  return make(
    "button",
    { type: "button" },
    make("img", { src: thumb(item, 128), alt: "", width: 44, height: 44 }),
    make("span", { className: "kind" }, KINDS[kindOf(group)], make("span", { className: "quiet label", textContent: label })),
    make("span", { className: "size number" }),
  );
}

/**
 * Draw how far the run is.
 * @param {any} run
 */
export function drawCounts(run) {
  const progress = get("progress");
  progress.max = Math.max(run.total ?? run.items, 1);
  progress.value = run.items - run.open;
  const parts = [`${run.open} open`, `${run.decided} decided`, `${run.confident} decide themselves`];
  if (run.unreadable) parts.push(`${run.unreadable} unreadable`);
  get("counts").textContent = parts.join(" · ");
  const state = get("state");
  const isUnder = run.state === "running" || run.state === "waiting";
  state.hidden = !isUnder && !["interrupted", "cancelled", "failed"].includes(run.state);
  state.textContent = isUnder
    ? `${run.items} of ${run.total ?? "…"} images are classified`
    : `This run is ${run.state} after ${run.items} images. The list of runs can resume it.`;
}

/** @param {number} images */
function count(images) {
  return images === 1 ? "1 image was" : `${images} images were`;
}

/**
 * Draw the end: nothing waits, or what comes next is not there yet.
 * @param {any} run
 * @param {boolean} isComing
 */
export function drawDone(run, isComing) {
  get("done").dataset.state = isComing ? "coming" : "end";
  const isUnder = run.state === "running" || run.state === "waiting";
  get("done").hidden = false;
  if (isComing) {
    get("done-title").textContent = "The next images are being loaded";
    get("done-text").textContent = "";
    return;
  }
  get("done-title").textContent = isUnder ? "Nothing waits yet" : run.items ? "Nothing waits any more" : "No images yet";
  get("done-text").textContent = isUnder
    ? "The first questions come while the images are classified."
    : `${count(run.decided)} decided by people; ${count(run.confident)} decided without.`;
}
