// What was answered, in words, and the answers of before this page was opened.

import { shown } from "./review_view.js";

/** @typedef {{entry: string | null, answer: number | null, items: number[], did: string}} Done */

/** What the answers without a label did. @type {Record<string, string>} */
export const DID = {
  unknown: "Decided as unknown.",
  skip: "Skipped.",
  accept: "Accepted what decides itself.",
  not_in_group: "Taken out of the group.",
};

/** @param {string} label */
export function taught(label) {
  return `Taught as ${shown(label)}.`;
}

/**
 * The newest answer that was taken before this page was opened.
 * @param {number} run
 * @param {import("./review_outbox.js").Entry[]} entries that are not sent: what they undo is none
 * @returns {Promise<Done | null>}
 */
export async function newest(run, entries) {
  const reply = await fetch(`/v1/review/answers?run=${run}`).catch(() => null);
  if (!reply?.ok) return null;
  const undone = entries.map((entry) => entry.answer);
  const answers = (await reply.json()).answers;
  const last = answers.find((/** @type {any} */ one) => one.state === "done" && !undone.includes(one.id));
  const did = last?.kind === "label" ? taught(last.label) : DID[last?.kind];
  return last ? { entry: null, answer: last.id, items: last.items, did } : null;
}

/**
 * An answer had no effect, so there is nothing to undo.
 * @param {Done[]} history
 * @param {string} entry
 */
export function forget(history, entry) {
  const place = history.findIndex((done) => done.entry === entry);
  if (place >= 0) history.splice(place, 1);
}
