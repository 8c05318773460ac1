// Files that a person drops or chooses, and how they become a run.

const AT_ONCE = 4; // requests
const PER_REQUEST = 8; // images
const MOST_BYTES = 64_000_000; // of the images of one request
const TRIES = 6;

/** @typedef {{name: string, file: File}} Named */

/**
 * All files of what was dropped, with their paths in the dropped folders.
 * @param {DataTransfer} transfer
 * @returns {Promise<Named[]>}
 */
export async function droppedFiles(transfer) {
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
 * The images among files, without hidden ones.
 * @param {Named[]} named
 */
export function imagesOf(named) {
  return named.filter((image) => image.file.type.startsWith("image/") && !image.name.split("/").pop()?.startsWith("."));
}

/**
 * Send a request again while the server is away or busy.
 * @param {string} url
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
export async function post(url, options) {
  for (let attempt = 1; ; attempt += 1) {
    let reply = null;
    try {
      reply = await fetch(url, { method: "POST", ...options });
    } catch (error) {
      if (attempt >= TRIES) throw new Error("The server is away. Try again later.");
    }
    if (reply?.ok) return reply;
    if (reply && reply.status < 500 && reply.status !== 429) throw new Error((await reply.json()).detail);
    if (attempt >= TRIES) throw new Error("The server is busy or away. Try again later.");
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

/**
 * Make a run of images.
 * @param {Named[]} named
 * @param {(done: number) => void} show how many are there
 * @returns {Promise<string>} the address of its review
 */
export async function uploadRun(named, show) {
  const headers = { "content-type": "application/json" };
  const run = await (await post("/v1/runs", { headers, body: "{}" })).json();
  const waiting = batches(named);
  let done = 0;
  show(0);
  const work = async () => {
    for (let batch = waiting.shift(); batch; batch = waiting.shift()) {
      const form = new FormData();
      for (const image of batch) form.append("image", image.file, image.name);
      await post(`/v1/runs/${run.id}/images`, { body: form });
      done += batch.length;
      show(done);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return `/review/${run.id}`;
}
