// The list of runs: images that are dropped or chosen become a run.

import { inStreamOrder } from "./stream_order.js";

const AT_ONCE = 4; // requests
const PER_REQUEST = 8; // images
const MOST_BYTES = 64_000_000; // of the images of one request
const TRIES = 6;

const upload = /** @type {HTMLElement} */ (document.getElementById("upload"));
const bar = /** @type {HTMLProgressElement} */ (document.getElementById("upload-progress"));
const text = /** @type {HTMLElement} */ (document.getElementById("upload-text"));
const drop = /** @type {HTMLElement} */ (document.getElementById("drop"));

/** @typedef {{name: string, file: File}} Named */

/**
 * All files of what was dropped, with their paths in the dropped folders.
 * @param {DataTransfer} transfer
 * @returns {Promise<Named[]>}
 */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found = /** @type {Named[]} */ ([]);
  for (const entry of entries) await walk(entry, found);
  return found;
}

/**
 * @param {any} entry
 * @param {Named[]} found
 */
async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ name: entry.fullPath.replace(/^\//, ""), file });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return;
    for (const inside of part) await walk(inside, found);
  }
}

/**
 * Send a request again while the server is away or busy.
 * @param {string} url
 * @param {RequestInit} options
 */
async function post(url, options) {
  for (let attempt = 1; ; attempt += 1) {
    let reply = null;
    try {
      reply = await fetch(url, { method: "POST", ...options });
    } catch (error) {
      if (attempt >= TRIES) throw error;
    }
    if (reply?.ok) return reply.json();
    if (reply && reply.status < 500 && reply.status !== 429) throw new Error((await reply.json()).detail);
    if (attempt >= TRIES) throw new Error("The server is away. Drop the images again later.");
    const seconds = Number(reply?.headers.get("retry-after") ?? 2 ** attempt / 2);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

/** @param {Named[]} named */
function batches(named) {
  const made = /** @type {Named[][]} */ ([]);
  let bytes = MOST_BYTES;
  for (const image of named) {
    const last = made[made.length - 1];
    if (!last || last.length === PER_REQUEST || bytes + image.file.size > MOST_BYTES) {
      made.push([]);
      bytes = 0;
    }
    made[made.length - 1].push(image);
    bytes += image.file.size;
  }
  return made;
}

/** @param {Named[]} given */
async function send(given) {
  const named = given.filter((image) => image.file.type.startsWith("image/") && !image.name.split("/").pop()?.startsWith("."));
  upload.hidden = false;
  if (!named.length) {
    text.textContent = "There is no image in it.";
    return;
  }
  bar.max = named.length;
  const headers = { "content-type": "application/json" };
  const run = await post("/v1/runs", { headers, body: "{}" });
  const waiting = batches(inStreamOrder(named, (image) => image.name));
  let done = 0;
  const show = () => {
    bar.value = done;
    text.textContent = `${done} of ${named.length} images`;
  };
  show();
  const work = async () => {
    for (let batch = waiting.shift(); batch; batch = waiting.shift()) {
      const form = new FormData();
      for (const image of batch) form.append("image", image.file, image.name);
      await post(`/v1/runs/${run.id}/images`, { body: form });
      done += batch.length;
      show();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  location.assign(`/review/${run.id}`);
}

/** @param {Promise<Named[]> | Named[]} named */
async function start(named) {
  try {
    await send(await named);
  } catch (error) {
    upload.hidden = false;
    text.textContent = /** @type {Error} */ (error).message;
  }
}

if (drop) offer();

/** Take images; a server that only reads has no place for them, and without this script there is none either. */
function offer() {
  drop.hidden = false;
  for (const name of ["dragover", "dragenter"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer) start(droppedFiles(event.dataTransfer));
  });
  for (const id of ["files", "folder"]) {
    const input = /** @type {HTMLInputElement} */ (document.getElementById(id));
    input.addEventListener("change", () => {
      start([...(input.files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file })));
    });
  }
}

// rows of runs under way are brought up to date
const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-state="running"], [data-state="waiting"]')]);
if (rows.length) {
  setInterval(async () => {
    if (document.hidden) return;
    const reply = await fetch(`/v1/runs/${rows[0].dataset.run}`).catch(() => null);
    if (!reply?.ok) return;
    const run = await reply.json();
    if (run.state !== rows[0].dataset.state) location.reload();
    const counts = rows[0].querySelector(".run-counts");
    if (counts) counts.textContent = `${run.items} of ${run.total ?? "?"} images · ${run.open} open`;
  }, 1000);
}
