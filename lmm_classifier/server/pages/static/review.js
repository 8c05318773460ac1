// The review of one run: a key decides an image, the next one is there at once, and saving comes after.

import { Advice } from "./review_advice.js";
import { compare, LabelDialog, stepNeighbor } from "./review_dialogs.js";
import { showDrift } from "./review_drift.js";
import { RunEvents } from "./review_events.js";
import { DID, forget, newest, taught } from "./review_history.js";
import { drawLegend, keysOf, listen } from "./review_keys.js";
import { Notices } from "./review_notices.js";
import { Outbox } from "./review_outbox.js";
import { labels, ReviewQueue } from "./review_queue.js";
import { draw, drawCounts, drawDone, get, shown } from "./review_view.js";

const LEAST = 3; // images of a group that are shown before the whole group gets a label

const page = get("review");
const number = Number(page.dataset.run);
const isCalibrated = page.dataset.calibrated === "yes";
const isReadOnly = page.dataset.readOnly !== undefined;
const keys = keysOf(isReadOnly);
const queue = new ReviewQueue(number);
const notices = new Notices(get("notice"), () => act("undo", "z"));
const advice = new Advice(number);

/** @type {import("./review_history.js").Done[]} */
const history = [];
/** @type {any} */
let run = null;
let needsOrder = false; // answers changed what teaches most
let isLoading = false;
let isWanted = false; // something changed while the next images were loaded
let isForced = false; // a new order is needed now
let undoing = Promise.resolve(); // one after the other: each has to know what the one before took back

const outbox = new Outbox(number, page.dataset.created ?? "", {
  saved: (entry, reply) => {
    if (entry.kind === "accept" && reply.answer === null) {
      forget(history, entry.id);
      notices.say("Nothing was left to accept.");
    }
    const refused = Object.keys(reply.refused ?? {}).map(Number);
    if (refused.length) returned(refused, `Not taught: ${Object.values(reply.refused)[0]}`);
    if (entry.kind === "undo") needsOrder = true;
    if (entry.kind === "accept") reload();
    advice.ask(entry.kind !== "decide");
    if (!queue.item) ahead();
  },
  refused: (entry, why) => {
    if (entry.kind !== "undo") forget(history, entry.id);
    returned([], `Not saved: ${why}`);
  },
  changed: (count, isAway) => {
    const badge = get("unsaved");
    page.dataset.unsaved = String(count);
    badge.hidden = count === 0 || !isAway;
    badge.textContent = `${count} not saved yet. The server is away; they are sent when it is back.`;
    document.title = document.title.replace(/^(\(\d+\) )?/, count && isAway ? `(${count}) ` : "");
  },
});

/**
 * Items are open again, because the server did not take their answer.
 * @param {number[]} items
 * @param {string} why
 */
function returned(items, why) {
  queue.putBack(items);
  notices.say(why);
  reload();
}

function show() {
  draw(queue, {
    isCalibrated,
    isReadOnly,
    choose: (label) => decide([queue.item], { label }, taught(label)),
    go: (position) => moved(() => (queue.position = position)),
    goGroup: (place) => moved(() => ([queue.place, queue.position] = [place, 0])),
  });
  if (queue.item) {
    if (!document.querySelector("dialog[open]")) get("stage").focus({ preventScroll: true });
    queue.preload();
  } else if (run && queue.isLoaded) {
    drawDone(run, isLoading || outbox.count > 0);
  }
}

/** @param {() => void} move */
function moved(move) {
  move();
  show();
  ahead();
}

/** Load what comes next before it is needed. */
async function ahead() {
  isWanted = true;
  if (isLoading) return;
  isLoading = true;
  try {
    while (isWanted) {
      isWanted = false;
      await loadNext();
    }
  } catch (error) {
    if (!queue.item) notices.say(`The server does not answer: ${/** @type {Error} */ (error).message}`);
  } finally {
    isLoading = false;
  }
  if (!queue.item) show();
}

async function loadNext() {
  const isLastOfGroup = !queue.group || queue.all(queue.group).length <= 1;
  if (isForced || (needsOrder && isLastOfGroup && !outbox.count)) await order();
  else if ((await queue.rest()) || (await queue.more())) show();
  else if (!queue.item && !outbox.count && run?.open) await order();
}

async function order() {
  needsOrder = isForced = false;
  for (const item of outbox.items) queue.gone.add(item);
  counted(await queue.load());
  show();
}

async function reload() {
  isForced = true;
  await ahead();
}

/** @param {any} values */
function counted(values) {
  run = values;
  drawCounts(run);
  showDrift(run);
}

/**
 * @param {any[]} items
 * @param {any} decision
 * @param {string} did
 */
function decide(items, decision, did) {
  const ids = items.filter((item) => item !== undefined).map((item) => item.id ?? item);
  if (!ids.length) return;
  get("compare").close();
  remember(outbox.add({ kind: "decide", items: ids, decision }), ids, did);
  if (decision === "not_in_group") setAside(ids[0]);
  else queue.drop(ids);
  if (decision.label !== undefined) needsOrder = true;
  show();
  ahead();
}

/**
 * Let an answer be undone later, and tell it.
 * @param {import("./review_outbox.js").Entry} entry
 * @param {number[]} items
 * @param {string} did
 */
function remember(entry, items, did) {
  history.push({ entry: entry.id, answer: null, items, did });
  notices.say(did, true);
}

/** Show an item that does not belong to its group later, in a group of its own. @param {number} id */
function setAside(id) {
  const group = queue.group;
  const item = group.items.find((other) => other.id === id);
  if (!item) return;
  item.apart = true;
  group.items = group.items.filter((other) => other !== item);
  queue.groups.push({ ...group, id: `apart-${id}`, items: [item], rest: [], size: 1, is_proposal: false });
  queue.settle();
}

async function undo() {
  const last = history.pop() ?? (await newest(number, outbox.entries));
  if (!last) {
    notices.say("There is no answer to undo.");
    return;
  }
  if (last.entry === null || !outbox.withdraw(last.entry)) {
    const how = last.entry === null ? { answer: /** @type {number} */ (last.answer) } : { of: last.entry };
    outbox.add({ kind: "undo", items: last.items, ...how });
  }
  const isInSight = queue.putBack(last.items);
  if (queue.item && last.items.includes(queue.item.id)) queue.item.apart = false;
  show();
  notices.say(`Undone: ${last.did}`);
  if (!isInSight) await reload();
}

const labeling = new LabelDialog(labels);

function wholeGroup() {
  const group = queue.group;
  const ids = group ? queue.all(group) : [];
  if (!ids.length) return;
  const suggested = group.suggested_label ?? "";
  const least = queue.left().slice(-LEAST);
  labeling.open(`All ${ids.length} images are…`, suggested, least, (label) =>
    decide(ids, { label }, `Taught ${ids.length} as ${shown(label)}.`),
  );
}

/** @type {Record<string, (key: string) => void>} */
const ACTS = {
  choose: (key) => {
    const label = queue.group?.labels[Number(key) - 1];
    if (label !== undefined && queue.item) decide([queue.item], { label }, taught(label));
  },
  first: () => {
    const label = queue.item?.candidates[0]?.label;
    if (label !== undefined) decide([queue.item], { label }, taught(label));
  },
  unknown: () => decide([queue.item], "unknown", DID.unknown),
  skip: () => decide([queue.item], "skip", DID.skip),
  accept: () => {
    if (advice.take()) remember(outbox.add({ kind: "accept", items: [] }), [], DID.accept);
  },
  apart: () => {
    if (!queue.item?.apart) decide([queue.item], "not_in_group", DID.not_in_group);
    else moved(() => queue.move(1)); // it is in a group of its own already
  },
  label: () => {
    const item = queue.item;
    if (item) labeling.open("It is…", "", [], (label) => decide([item], { label }, taught(label)));
  },
  group: wholeGroup,
  compare: () => (get("compare").open ? get("compare").close() : compare(queue)),
  next: () => (get("compare").open ? stepNeighbor(1) : moved(() => queue.move(1))),
  previous: () => (get("compare").open ? stepNeighbor(-1) : moved(() => queue.move(-1))),
  nextGroup: () => moved(() => queue.moveGroup(1)),
  previousGroup: () => moved(() => queue.moveGroup(-1)),
  undo: () => (undoing = undoing.then(undo)),
  help: () => (get("help").open ? get("help").close() : get("help").showModal()),
};

/** @type {(name: string, key: string) => void} */
const act = (name, key) => ACTS[name](key);

for (const [kind, isBroken] of /** @type {[string, boolean][]} */ ([["error", true], ["load", false]])) {
  page.addEventListener(kind, (/** @type {any} */ event) => event.target.classList.toggle("broken", isBroken), true);
}
drawLegend(keys, get("legend"));
listen(keys, act, () => (get("compare").open ? ["compare", "next", "previous", "choose", "first", "unknown"] : ["help"]));
for (const button of page.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => act(button.dataset.act, ""));
}
const follow = () => new RunEvents(
  number,
  {
    progress: ({ run: values }) => {
      const former = run;
      counted(values);
      if (values.items !== former?.items) needsOrder = true;
      if (!queue.item && values.open && values.open !== former?.open) reload();
      else if (!queue.item) show();
    },
    answer: ({ run: values, answer }) => {
      counted(values);
      if (answer.kind === "not_in_group" || history.some((done) => done.items.includes(answer.items[0]))) return;
      queue.drop(answer.items);
      if (answer.size > answer.items.length) reload();
      show();
    },
    undo: ({ run: values, answer }) => {
      counted(values);
      for (const item of answer.items) queue.gone.delete(item);
      for (const item of outbox.items) queue.gone.add(item);
      if (!queue.item) reload();
    },
    revote: ({ run: values, newly_confident: count, confident, index_version: version }) => {
      counted(values);
      get("version").textContent = String(version);
      needsOrder = true;
      const seen = queue.item?.id;
      queue.drop(confident.filter((/** @type {number} */ item) => item !== seen));
      show();
      if (count) {
        const more = `${count} more ${count === 1 ? "image decides itself" : "images decide themselves"} now.`;
        notices.add(more);
      }
      ahead();
      advice.ask();
    },
    deleted: () => location.assign("/review"),
  },
  (isThere) => {
    if (!isThere) return;
    outbox.retry();
    for (const image of page.querySelectorAll("img.broken")) image.src = image.src;
  },
);
outbox.open().then(reload).then(() => [advice.ask(), follow()]);
