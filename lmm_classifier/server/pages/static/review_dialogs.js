// The dialogs of the review: any label by its first letters, and the comparison with the neighbors.

import { get, make, neighborImage, shown } from "./review_view.js";
import { thumb } from "./review_queue.js";

const LISTED = 8; // labels

/** @param {string} text */
function folded(text) {
  return text.normalize("NFKC").toLocaleLowerCase();
}

/**
 * Labels that fit a text: those that begin with it, then those with a word that does, then those that contain it.
 * @param {string[]} labels
 * @param {string} text
 */
export function matching(labels, text) {
  const wanted = folded(text.trim());
  if (!wanted) return labels.slice(0, LISTED);
  const rank = (/** @type {string} */ label) => {
    const own = folded(label);
    if (own === wanted) return 0;
    if (own.startsWith(wanted)) return 1;
    if (startsWord(label, text.trim())) return 2;
    return own.includes(wanted) ? 3 : 4;
  };
  const ranked = labels.map((label) => /** @type {[number, string]} */ ([rank(label), label]));
  const found = ranked.filter(([place]) => place < 4).sort((one, other) => one[0] - other[0]);
  return found.slice(0, LISTED).map(([, label]) => label);
}

/**
 * What a person may choose for a text: a new label comes before those that only contain it.
 * @param {string[]} labels
 * @param {string} text
 * @returns {{label: string, isNew: boolean}[]}
 */
export function optionsFor(labels, text) {
  const wanted = text.trim();
  const options = matching(labels, wanted).map((label) => ({ label, isNew: false }));
  if (!wanted || options.some(({ label }) => label === wanted)) return options;
  const inside = options.findIndex(({ label }) => !startsWord(label, wanted));
  options.splice(inside < 0 ? options.length : inside, 0, { label: wanted, isNew: true });
  return options;
}

/**
 * @param {string} label
 * @param {string} text
 */
function startsWord(label, text) {
  const [own, wanted] = [folded(label), folded(text)];
  return own.startsWith(wanted) || own.split(/[^\p{L}\p{N}]+/u).some((word) => word.startsWith(wanted));
}

/** Asks for a label: of one image, or of a whole group. */
export class LabelDialog {
  /** @param {() => Promise<string[]>} labels */
  constructor(labels) {
    this.labels = labels;
    /** @type {string[]} */
    this.known = [];
    /** @type {{label: string, isNew: boolean}[]} */
    this.options = [];
    this.place = 0;
    /** @type {(label: string) => void} */
    this.teach = () => {};
    this.dialog = get("labeling");
    this.input = get("label-text");
    this.input.addEventListener("input", () => this.search());
    this.input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.press(event));
    get("labeling-close").addEventListener("click", () => this.dialog.close());
    get("labeling-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.accept();
    });
  }

  /**
   * @param {string} title
   * @param {string} suggested the label that Enter takes
   * @param {{id: number, content_hash: string, name: string}[]} least items that are shown first
   * @param {(label: string) => void} teach
   */
  async open(title, suggested, least, teach) {
    this.teach = teach;
    get("labeling-title").textContent = title;
    get("least").hidden = !least.length;
    get("least-alike").replaceChildren(
      ...least.map((item) => make("li", {}, make("img", { src: thumb(item, 128), alt: shown(item.name) }))),
    );
    this.input.value = suggested;
    this.search();
    this.dialog.showModal();
    this.input.focus();
    this.input.select();
    this.known = await this.labels().catch(() => this.known); // the server is away: those that were known
    this.search();
  }

  search() {
    this.options = optionsFor(this.known, this.input.value);
    this.place = this.input.value.trim() ? 0 : -1; // an answer is never given by Enter alone
    const list = get("label-list");
    const rows = this.options.map(({ label, isNew }, place) => {
      const row = make("li", { id: `label-${place}`, textContent: isNew ? `New label “${shown(label)}”` : shown(label) });
      row.setAttribute("role", "option");
      row.addEventListener("click", () => this.accept(place));
      return row;
    });
    list.replaceChildren(...rows);
    this.mark();
  }

  mark() {
    for (const [place, row] of [...get("label-list").children].entries()) {
      row.setAttribute("aria-selected", String(place === this.place));
    }
    this.input.setAttribute("aria-activedescendant", this.options[this.place] ? `label-${this.place}` : "");
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !this.options.length) return;
    event.preventDefault();
    this.place = this.place < 0 && step < 0 ? this.options.length - 1 : (this.place + step + this.options.length) % this.options.length;
    this.mark();
  }

  /** @param {number} [place] */
  accept(place = this.place) {
    const label = this.options[place]?.label;
    if (label === undefined) return;
    this.dialog.close();
    this.teach(label);
  }
}

/**
 * Show an item next to its neighbors.
 * @param {import("./review_queue.js").ReviewQueue} queue
 */
export function compare(queue) {
  const item = queue.item;
  if (!item) return;
  const neighbors = item.candidates.flatMap((candidate) => candidate.neighbors).filter((one) => one.id !== null);
  get("compare-image").replaceChildren(make("img", { src: thumb(item, 1024), alt: shown(item.name) }));
  get("compare-name").textContent = shown(item.name);
  const buttons = neighbors.map((neighbor) => {
    const image = neighborImage(neighbor.id, neighbor.label);
    return make("button", { type: "button", onclick: () => showNeighbor(neighbor, button(neighbor)) }, image);
  });
  /** @param {any} neighbor */
  function button(neighbor) {
    return buttons[neighbors.indexOf(neighbor)];
  }
  get("compare-neighbors").replaceChildren(...buttons.map((each) => make("li", {}, each)));
  if (neighbors.length) showNeighbor(neighbors[0], buttons[0]);
  else get("compare-neighbor").replaceChildren();
  get("compare").showModal();
  get("compare-title").focus();
}

/**
 * @param {{id: string | null, label: string, similarity: number}} neighbor
 * @param {HTMLElement} chosen
 */
function showNeighbor(neighbor, chosen) {
  const image = make("img", { src: `/v1/thumbs/${neighbor.id}?side=1024`, alt: shown(neighbor.label) });
  get("compare-neighbor").replaceChildren(image);
  get("compare-label").textContent = `${shown(neighbor.label)}, similarity ${neighbor.similarity.toFixed(2)}`;
  for (const button of get("compare-neighbors").querySelectorAll("button")) {
    if (button === chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

/** Go to another neighbor of the comparison. @param {number} step */
export function stepNeighbor(step) {
  const buttons = [...get("compare-neighbors").querySelectorAll("button")];
  const place = buttons.findIndex((button) => button.hasAttribute("aria-current"));
  buttons[(place + step + buttons.length) % buttons.length]?.click();
}
