// The examples that were chosen on the map: a list of them, and what is done with all of them in one edit.

import { tell } from "./page.js";

/** @typedef {import("./map_points.js").Points} Points */

const SHOWN = 60; // examples at a time
const MOST = 10000; // examples of one edit

/**
 * @param {string} id
 * @returns {any}
 */
const get = (id) => document.getElementById(id);

/**
 * Return an element with children and properties.
 * @param {string} name
 * @param {Record<string, any>} properties
 * @param {...(Node | string)} children
 */
export function made(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

export class Choice {
  /**
   * @param {() => Points} points
   * @param {Set<number>} chosen
   * @param {() => void} changed the choice changed
   * @param {() => Promise<void>} edited the dataset changed
   */
  constructor(points, chosen, changed, edited) {
    this.points = points;
    this.chosen = chosen;
    this.changed = changed;
    this.edited = edited;
    this.shown = SHOWN;
    this.isBusy = false;
    get("map-more").addEventListener("click", () => {
      this.shown += SHOWN;
      this.draw();
    });
    get("map-none").addEventListener("click", () => {
      this.set([]);
      if (!get("notice").querySelector("button")) get("notice").replaceChildren(); // it told how many were chosen
    });
    get("map-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.relabel();
    });
    get("map-remove")?.addEventListener("click", () => this.edit("DELETE", {}, "removed"));
  }

  /**
   * Choose examples in the place of those that were, or in addition.
   * @param {Iterable<number>} members
   * @param {boolean} adds
   */
  set(members, adds = false) {
    if (!adds) this.chosen.clear();
    for (const member of members) this.chosen.add(member);
    this.shown = SHOWN;
    this.draw();
    this.changed();
    if (!this.chosen.size) get("map-canvas").focus({ preventScroll: true });
  }

  /** @param {number} member */
  toggle(member) {
    if (!this.chosen.delete(member)) this.chosen.add(member);
    this.draw();
    this.changed();
  }

  draw() {
    const points = this.points();
    const members = [...this.chosen];
    get("map-choice").hidden = !members.length;
    get("map-chosen").textContent = `${members.length.toLocaleString("en")} chosen`;
    get("map-list").replaceChildren(...members.slice(0, this.shown).map((member) => this.tile(points, member)));
    get("map-more").hidden = members.length <= this.shown;
  }

  /**
   * @param {Points} points
   * @param {number} member
   */
  tile(points, member) {
    const box = /** @type {HTMLInputElement} */ (made("input", { type: "checkbox", checked: true }));
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(member);
      else this.chosen.delete(member);
      get("map-chosen").textContent = `${this.chosen.size.toLocaleString("en")} chosen`;
      this.changed();
    });
    const image = made("img", { src: `/v1/thumbs/${points.ids[member]}?side=128`, alt: "", width: 128, height: 128, loading: "lazy" });
    const name = made("bdi", { textContent: points.labels[points.label[member]] });
    const path = made("span", { className: "visually-hidden", textContent: `, ${points.paths[member]}` });
    return made("li", {}, made("label", { className: "tile" }, box, image, made("span", { className: "caption" }, name, path)));
  }

  relabel() {
    const field = get("map-new");
    if (!field) return;
    if (!field.value.trim()) {
      tell("Write a label.");
      field.focus();
      return;
    }
    this.edit("PATCH", { label: field.value }, "relabeled");
  }

  /**
   * Change all chosen examples in one edit; it is refused where one of them has another label by now.
   * @param {string} method
   * @param {object} more
   * @param {string} what
   */
  async edit(method, more, what) {
    const points = this.points();
    const members = [...this.chosen];
    if (this.isBusy || !members.length) return;
    if (members.length > MOST) {
      tell(`Choose at most ${MOST.toLocaleString("en")} examples for one edit.`);
      return;
    }
    const examples = members.map((member) => ({
      id: points.ids[member],
      seen_label: points.labels[points.label[member]],
      path: points.paths[member],
    }));
    const values = await this.send("/v1/examples", method, { examples, ...more });
    if (!values) return;
    if (method === "DELETE") this.chosen.clear();
    await this.edited();
    const count = method === "DELETE" ? values.removed.length : values.relabeled.length;
    this.offerUndo(`${count.toLocaleString("en")} ${what}.`, values.edit);
    get("map-canvas").focus({ preventScroll: true });
  }

  /**
   * @param {string} url
   * @param {string} method
   * @param {object} body
   */
  async send(url, method, body) {
    this.isBusy = true;
    try {
      const reply = await fetch(url, {
        method,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(60000),
      });
      const values = await reply.json();
      if (reply.ok) {
        get("version").textContent = values.index_version;
        return values;
      }
      tell(values.detail ?? "The server refused that.");
      if (reply.status === 409) await this.edited();
    } catch {
      tell("The server does not answer. Load the page again to see whether the change was made.");
    } finally {
      this.isBusy = false;
    }
    return null;
  }

  /**
   * @param {string} text
   * @param {number | null} edit
   */
  offerUndo(text, edit) {
    if (edit === null) {
      tell("Nothing changed.");
      return;
    }
    const undo = made("button", { type: "button" }, "Undo ", made("kbd", { ariaHidden: "true" }, "Z"));
    undo.dataset.key = "z";
    undo.dataset.keyText = "undo the last change";
    undo.addEventListener("click", async () => {
      if (this.isBusy || !(await this.send(`/v1/edits/${edit}/undo`, "POST", {}))) return;
      await this.edited();
      tell("Undone.");
    });
    get("notice").replaceChildren(made("span", {}, text), undo);
  }
}
