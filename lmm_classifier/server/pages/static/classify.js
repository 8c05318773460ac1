// Images that are dropped, pasted or chosen: a few are answered here, many become a run.

import { detailOf, tell } from "./page.js";
import { inStreamOrder } from "./stream_order.js";

const AT_ONCE = 4; // requests
const IN_A_FORM = 8; // images of a run that are sent together
const form = /** @type {HTMLFormElement} */ (document.getElementById("give"));
const input = /** @type {HTMLInputElement} */ (document.getElementById("file"));
const results = /** @type {HTMLElement} */ (document.getElementById("results"));
const most = Number(form.dataset.most);
const isReadOnly = form.dataset.readOnly !== undefined;
const ENDINGS = /\.(jpe?g|png|gif|bmp|webp|tiff?|heic|heif|avif|ppm|pgm|jp2|ico|tga)$/i;

/**
 * Take images: show the answers, or make a run of them.
 * @param {File[]} files
 */
async function take(files) {
  const images = files.filter((file) => file.type.startsWith("image/") || ENDINGS.test(file.name));
  if (!images.length) return tell(files.length ? "None of these files is an image." : "No file was given.");
  if (images.length < files.length) tell(`${files.length - images.length} files are no images, and are left out.`);
  if (images.length > most && isReadOnly) return tell(`This server only reads, so at most ${most} images are answered together.`);
  if (images.length > most) return run(images);
  form.classList.add("slim");
  const cards = images.map(pending);
  results.prepend(...cards.map((card) => card.article));
  await inParallel(cards, (card) => answer(card));
  remember();
  return undefined;
}

/**
 * Return a card that shows an image while it is classified.
 * @param {File} file
 */
function pending(file) {
  const article = Object.assign(document.createElement("article"), { className: "answer pending" });
  const subject = Object.assign(document.createElement("div"), { className: "subject" });
  const preview = URL.createObjectURL(file);
  subject.append(Object.assign(document.createElement("img"), { src: preview, alt: "the image that you gave" }));
  const said = Object.assign(document.createElement("div"), { className: "said" });
  const heading = Object.assign(document.createElement("h2"), { textContent: "…" });
  said.append(heading, Object.assign(document.createElement("p"), { className: "quiet", textContent: file.name }));
  article.append(subject, said);
  return { article, file, heading, said, preview };
}

/** @typedef {ReturnType<typeof pending>} Pending */

/**
 * Send an image and put its answer in the place of its card.
 * @param {Pending} card
 */
async function answer(card) {
  const body = new FormData();
  body.append("image", card.file, card.file.name);
  try {
    const reply = await patient("/", { method: "POST", body, headers: { "HX-Request": "true" } });
    const text = await reply.text();
    if (!reply.ok) return failed(card, detailOf(text));
    const made = new DOMParser().parseFromString(text, "text/html").querySelector("article");
    if (!made) return failed(card, "The server gave no answer.");
    card.article.replaceWith(made);
    URL.revokeObjectURL(card.preview);
    /** @type {any} */ (window).htmx?.process(made);
  } catch {
    failed(card, "The server does not answer.");
  }
  return undefined;
}

/**
 * Tell why there is no answer, and offer to ask again.
 * @param {Pending} card
 * @param {string} reason
 */
function failed(card, reason) {
  card.heading.textContent = "No answer";
  const again = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
  again.addEventListener("click", () => {
    card.heading.textContent = "…";
    card.said.querySelectorAll(".failure").forEach((part) => part.remove());
    answer(card).then(remember);
  });
  const told = Object.assign(document.createElement("p"), { className: "failure", textContent: `${reason} ` });
  told.append(again);
  card.said.append(told);
}

/**
 * Send a request; where the server is full, wait as long as it says and send again.
 * @param {string} address
 * @param {RequestInit} request
 */
async function patient(address, request) {
  for (let attempt = 0; ; attempt++) {
    const reply = await fetch(address, request);
    if (reply.status !== 429 || attempt === 20) return reply;
    const seconds = Number(reply.headers.get("Retry-After")) || 1;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

/**
 * Do something with all items, a few at a time.
 * @template T
 * @param {T[]} items
 * @param {(item: T) => Promise<unknown>} act
 */
async function inParallel(items, act) {
  const left = [...items];
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await act(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** The cards with an answer. */
function answered() {
  return /** @type {HTMLElement[]} */ ([...results.querySelectorAll("article[data-id]")]);
}

/** @param {HTMLElement[]} cards */
function addressOf(cards) {
  const ids = [...new Set(cards.map((card) => card.dataset.id))].slice(0, most);
  return ids.length ? `/?images=${ids.join("+")}` : "/";
}

/** Let the address name the results that are shown, so that it can be opened again. */
function remember() {
  if (answered().length) history.replaceState(null, "", addressOf(answered()));
}

/** @param {HTMLElement} card */
function isTaught(card) {
  return card.querySelector(".taught") !== null;
}

/**
 * Make a run of many images, and go to its review.
 * @param {File[]} images
 */
async function run(images) {
  let done = 0;
  const groups = [];
  const mixed = inStreamOrder(images, (file) => file.webkitRelativePath || file.name);
  for (let start = 0; start < mixed.length; start += IN_A_FORM) groups.push(mixed.slice(start, start + IN_A_FORM));
  try {
    const headers = { "Content-Type": "application/json" };
    const begun = await patient("/v1/runs", { method: "POST", headers, body: "{}" });
    if (!begun.ok) return tell(detailOf(await begun.text()));
    const { id } = await begun.json();
    await inParallel(groups, async (group) => {
      const body = new FormData();
      for (const file of group) body.append("image", file, file.webkitRelativePath || file.name);
      const reply = await patient(`/v1/runs/${id}/images`, { method: "POST", body });
      if (!reply.ok) throw new Error(detailOf(await reply.text()));
      done += group.length;
      tell(`${done} of ${images.length} images are sent.`);
    });
    location.assign(`/review/${id}`);
  } catch (error) {
    const reason = error instanceof TypeError ? "The server does not answer." : /** @type {Error} */ (error).message;
    tell(`${done} of ${images.length} images were sent. ${reason}`);
  }
  return undefined;
}

/**
 * Return the files of what was dropped, those in folders too.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (!entries.length) return [...transfer.files];
  const files = await Promise.all(entries.map((entry) => filesIn(/** @type {any} */ (entry))));
  return files.flat();
}

/**
 * @param {any} entry
 * @returns {Promise<File[]>}
 */
async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return files;
    for (const inside of part) files.push(...(await filesIn(inside)));
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  take([...(input.files ?? [])]).finally(() => form.reset());
});
input.addEventListener("change", () => form.requestSubmit());
/** @type {HTMLElement} */ (document.getElementById("send")).hidden = true;
const folder = /** @type {HTMLButtonElement} */ (document.getElementById("folder"));
folder.hidden = false;
folder.addEventListener("click", () => {
  const chooser = Object.assign(document.createElement("input"), { type: "file", webkitdirectory: true, multiple: true });
  chooser.addEventListener("change", () => take([...(chooser.files ?? [])]));
  chooser.click();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  if (!event.dataTransfer) return;
  dropped(event.dataTransfer).then(take, () => tell("What was dropped cannot be read."));
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) take(files);
});
/** @type {Set<string | undefined>} */
let taught = new Set(); // ids of the images that were examples before a request
document.addEventListener("htmx:configRequest", () => {
  const cards = answered();
  taught = new Set(cards.filter(isTaught).map((card) => card.dataset.id));
  document.body.dataset.then = addressOf([...cards.filter(isTaught), ...cards.filter((card) => !isTaught(card))]);
}, true);
document.addEventListener("htmx:afterSettle", () => {
  const open = answered().filter((card) => !isTaught(card));
  const undone = open.find((card) => taught.has(card.dataset.id));
  const next = undone ?? (results.querySelector(".taught") ? open[0] : undefined);
  next?.focus();
});
