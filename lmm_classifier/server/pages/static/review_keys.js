// The keys of the review: one table for the keyboard, the buttons and the legend.

/**
 * @typedef {object} Key
 * @property {string[]} keys as `KeyboardEvent.key` tells them
 * @property {string} shown what the legend shows
 * @property {string} act what it does, a name of the acts
 * @property {string} text what the legend says
 * @property {boolean} [shift] whether Shift is held
 * @property {boolean} [repeats] whether a key that is held down does it again
 * @property {boolean} [looks] whether it changes nothing, so that it is there on a server that only reads
 */

/** @type {Key[]} */
export const KEYS = [
  { keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], shown: "1 – 9", act: "choose", text: "the label with this number" },
  { keys: ["Enter"], shown: "Enter", act: "first", text: "the first label" },
  { keys: ["u", "U"], shown: "U", act: "unknown", text: "none of the labels: unknown" },
  { keys: ["n", "N"], shown: "N", act: "label", text: "any other label, or a new one" },
  { keys: ["s", "S"], shown: "S", act: "skip", text: "skip: do not show this image again" },
  { keys: ["a", "A"], shown: "A", act: "accept", text: "accept the images that decide themselves at your target" },
  { keys: ["x", "X"], shown: "X", act: "apart", text: "take the image out of the group" },
  { keys: ["Enter"], shift: true, shown: "Shift + Enter", act: "group", text: "the whole group has one label" },
  { keys: [" "], shown: "Space", act: "compare", text: "enlarge, and compare with the neighbors", looks: true },
  { keys: ["ArrowRight"], shown: "→", act: "next", text: "the next image, without an answer", repeats: true, looks: true },
  { keys: ["ArrowLeft"], shown: "←", act: "previous", text: "the image before", repeats: true, looks: true },
  { keys: ["j", "J"], shown: "J", act: "nextGroup", text: "the next group", looks: true },
  { keys: ["k", "K"], shown: "K", act: "previousGroup", text: "the group before", looks: true },
  { keys: ["z", "Z"], shown: "Z", act: "undo", text: "undo the last answer, whatever it was" },
  { keys: ["?"], shown: "?", act: "help", text: "show these keys", looks: true },
];

/**
 * Return the keys that mean something here.
 * @param {boolean} isReadOnly
 */
export function keysOf(isReadOnly) {
  return KEYS.filter((key) => key.looks || !isReadOnly);
}

/**
 * Return the entry for a key press, none where it means nothing here.
 * @param {Key[]} keys
 * @param {KeyboardEvent} event
 * @returns {Key | undefined}
 */
export function keyOf(keys, event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return undefined;
  const isLetter = event.key.length === 1;
  return keys.find((key) => key.keys.includes(event.key) && (isLetter || Boolean(key.shift) === event.shiftKey));
}

/**
 * Call an act for each key press, but not while a person types, and not for a key that a control uses itself.
 * @param {Key[]} keys
 * @param {(act: string, key: string) => void} act
 * @param {() => string[]} allowed acts of the open dialog; without a dialog all are
 */
export function listen(keys, act, allowed) {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("input, textarea, select")) return;
    const own = event.shiftKey ? "a, button" : "a, button, summary"; // a summary has no use for Shift
    if ((event.key === "Enter" || event.key === " ") && target.closest(own)) return;
    const key = keyOf(keys, event);
    if (!key) return;
    const acts = document.querySelector("dialog[open]") ? allowed() : undefined;
    if (acts && !acts.includes(key.act)) return;
    event.preventDefault();
    if (event.repeat && !key.repeats) return;
    act(key.act, event.key);
  });
}

/**
 * Draw the legend.
 * @param {Key[]} keys
 * @param {HTMLElement} list
 */
export function drawLegend(keys, list) {
  for (const key of keys) {
    const term = document.createElement("dt");
    const shown = document.createElement("kbd");
    const text = document.createElement("dd");
    shown.textContent = key.shown;
    text.textContent = key.text;
    term.append(shown);
    list.append(term, text);
  }
}
