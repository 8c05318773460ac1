// The Classify page: each image is sent alone, and what is taught counts for all others at once.

import { droppedFiles, imagesOf, post, uploadRun } from "./uploads.js";

const MOST = 20; // images on the page; more become a run
const AT_ONCE = 4; // requests

/** @typedef {{node: HTMLElement, file: File, url: string, label: string, edit: number | null}} Card */

const KEYS = /** @type {[string, string, string][]} */ ([
  ["1 – 9", "teach", "teach the label with this number"],
  ["Enter", "first", "teach the first label"],
  ["N", "other", "write another label"],
  ["←  →", "move", "the image before or after"],
  ["Z", "undo", "undo what was taught last"],
]);

const cards = /** @type {Card[]} */ ([]);
const taught = /** @type {Card[]} */ ([]);
let current = -1;

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const [drop, answers, state, notice] = ["drop", "answers", "state", "notice"].map(byId);
const files = /** @type {HTMLInputElement} */ (byId("files"));
const template = /** @type {HTMLTemplateElement} */ (byId("card"));
const compare = /** @type {HTMLDialogElement} */ (byId("compare"));

/** @param {import("./uploads.js").Named[]} given */
async function start(given) {
  const named = imagesOf(given);
  try {
    if (!named.length) throw new Error("There is no image in it.");
    if (named.length > MOST) {
      const address = await uploadRun(named, (done) => say(`${done} of ${named.length} images are sent.`));
      location.assign(address);
      return;
    }
    say("");
    const made = named.map(({ name, file }) => addCard(name, file));
    focus(cards.indexOf(made[0]));
    await answerAll(made);
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
}

/** @param {string} text */
function say(text) {
  state.textContent = text;
}

/**
 * @param {string} name
 * @param {File} file
 */
function addCard(name, file) {
  const node = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  const card = { node, file, url: URL.createObjectURL(file), label: "", edit: null };
  const image = /** @type {HTMLImageElement} */ (node.querySelector("img"));
  image.src = card.url;
  image.alt = name;
  /** @type {HTMLElement} */ (node.querySelector(".name")).textContent = name;
  node.addEventListener("focusin", () => mark(cards.indexOf(card)));
  node.addEventListener("click", (event) => clicked(card, event));
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (node.querySelector("input[name=label]"));
    void teach(card, input.value);
  });
  answers.append(node);
  cards.push(card);
  return card;
}

/** @param {Card[]} waiting */
async function answerAll(waiting) {
  const queue = [...waiting];
  const work = async () => {
    for (let card = queue.shift(); card; card = queue.shift()) await answer(card);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** @param {Card} card */
async function answer(card) {
  const said = /** @type {HTMLElement} */ (card.node.querySelector(".said"));
  try {
    const headers = { "content-type": "application/octet-stream" };
    const reply = await post("/classify", { headers, body: card.file });
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const made = page.querySelector(".said");
    if (card.edit === null && made) said.replaceWith(document.adoptNode(made));
  } catch (error) {
    said.replaceChildren(paragraph(/** @type {Error} */ (error).message));
  }
}

/** @param {string} text */
function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

/**
 * @param {Card} card
 * @param {Event} event
 */
function clicked(card, event) {
  const target = /** @type {Element} */ (event.target);
  const choice = /** @type {HTMLElement | null} */ (target.closest("[data-teach]"));
  if (choice) void teach(card, choice.dataset.teach ?? "");
  const example = /** @type {HTMLAnchorElement | null} */ (target.closest("a[data-compare]"));
  if (!example) return;
  event.preventDefault();
  const [own, other] = compare.querySelectorAll("img");
  own.src = card.url;
  other.src = example.href;
  other.alt = `An example of ${example.dataset.compare}`;
  compare.querySelectorAll("figcaption")[1].textContent = `example of ${example.dataset.compare}`;
  compare.showModal();
}

/**
 * Teach an image, show it, and let the others be answered again.
 * @param {Card} card
 * @param {string} label
 */
async function teach(card, label) {
  if (!label.trim() || card.edit !== null) return;
  card.edit = 0;
  const form = new FormData();
  form.append("image", card.file);
  form.append("label", label);
  try {
    const report = await (await post("/v1/examples", { body: form })).json();
    if (report.edit === null) throw new Error(report.skipped[0]?.reason ?? "Nothing was changed.");
    card.edit = report.edit;
    card.label = label;
    taught.push(card);
    card.node.classList.add("taught");
    byId("version").textContent = report.index_version;
    tell(`Taught as ${label}.`, true);
    move(1);
    await answerAll(cards.filter((other) => other.edit === null));
  } catch (error) {
    card.edit = null;
    tell(/** @type {Error} */ (error).message, false);
  }
}

async function undo() {
  const card = taught.pop();
  if (!card) return;
  try {
    const headers = { "content-type": "application/json" };
    const report = await (await post(`/v1/edits/${card.edit}/undo`, { headers, body: "{}" })).json();
    card.edit = null;
    card.node.classList.remove("taught");
    byId("version").textContent = report.index_version;
    tell(`Undone: ${card.label}.`, false);
    focus(cards.indexOf(card));
    await answerAll(cards.filter((other) => other.edit === null));
  } catch (error) {
    taught.push(card);
    tell(/** @type {Error} */ (error).message, false);
  }
}

/**
 * @param {string} text
 * @param {boolean} mayUndo
 */
function tell(text, mayUndo) {
  notice.replaceChildren(text);
  if (!mayUndo) return;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Undo (Z)";
  button.addEventListener("click", () => void undo());
  notice.append(" ", button);
}

/** @param {number} place */
function mark(place) {
  cards[current]?.node.removeAttribute("aria-current");
  current = place;
  cards[current]?.node.setAttribute("aria-current", "true");
}

/** @param {number} place */
function focus(place) {
  if (!cards[place]) return;
  mark(place);
  cards[place].node.focus();
}

/** @param {number} step */
function move(step) {
  for (let place = current + step; place >= 0 && place < cards.length; place += step) {
    if (cards[place].edit === null) return focus(place);
  }
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  const target = /** @type {Element} */ (event.target);
  const isTyping = target.closest("input, textarea, select, dialog[open]");
  if (isTyping || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.key === "Enter" && target.closest("a, button, summary")) return;
  const card = cards[current];
  const choices = card ? [...card.node.querySelectorAll("[data-teach]")] : [];
  const number = event.key === "Enter" ? 1 : Number(event.key);
  if (number >= 1 && choices[number - 1]) void teach(card, /** @type {HTMLElement} */ (choices[number - 1]).dataset.teach ?? "");
  else if (/^n$/i.test(event.key) && card) /** @type {HTMLElement | null} */ (card.node.querySelector("input[name=label]"))?.focus();
  else if (event.key === "ArrowRight") move(1);
  else if (event.key === "ArrowLeft") move(-1);
  else if (/^z$/i.test(event.key)) void undo();
  else return;
  event.preventDefault();
}

for (const name of ["dragover", "dragenter"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer) await start(await droppedFiles(event.dataTransfer));
});
document.addEventListener("paste", (event) => {
  const pasted = [...(event.clipboardData?.files ?? [])];
  if (pasted.length) void start(pasted.map((file) => ({ name: file.name, file })));
});
drop.addEventListener("submit", (event) => {
  event.preventDefault();
  void start([...(files.files ?? [])].map((file) => ({ name: file.name, file })));
  files.value = "";
});
files.addEventListener("change", () => /** @type {HTMLFormElement} */ (drop).requestSubmit());
document.addEventListener("keydown", pressed);
byId("keys").replaceChildren(
  ...KEYS.map(([shown, , text]) => {
    const item = document.createElement("li");
    const key = document.createElement("kbd");
    key.textContent = shown;
    item.append(key, ` ${text}`);
    return item;
  }),
);
