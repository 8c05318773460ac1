// The open images of a run, as hollow rings in the middle of the examples that they look like.

import { showCard } from "./map_card.js";

/** @typedef {import("./map_view.js").MapView} MapView */
/** @typedef {{item: number, id: string, name: string, label: string, x: number, y: number}} Placed */

const RADIUS = 6; // pixels
const EDGE = 3; // pixels around it

/**
 * @param {string} id
 * @returns {any}
 */
const get = (id) => document.getElementById(id);

export class Rings {
  /** @param {MapView} view */
  constructor(view) {
    this.view = view;
    this.run = ""; // none
    /** @type {Placed[]} */
    this.items = [];
    this.marked = -1;
    view.drawOver = () => this.draw();
  }

  /**
   * Show the open images of a run, as they are now; "" shows none.
   * @param {string} run
   */
  async show(run) {
    this.run = run;
    let [items, said] = [/** @type {Placed[]} */ ([]), ""];
    if (run) {
      try {
        const reply = await fetch(`/v1/map/items?run=${encodeURIComponent(run)}`, { signal: AbortSignal.timeout(60000) });
        const found = await reply.json();
        if (reply.status === 200) [items, said] = [found.items, told(found)];
        else said = reply.ok ? "The map is being made." : found.detail;
      } catch {
        said = "The server does not answer.";
      }
    }
    if (this.run !== run) return; // another one was chosen meanwhile
    this.items = items;
    this.marked = -1;
    get("map-run-said").textContent = said;
    get("map-run-link").hidden = !items.length;
    get("map-run-link").href = `/review/${run}`;
    this.view.canvas.dataset.rings = String(items.length);
    this.view.draw();
  }

  /** @param {Placed} item @returns {[number, number]} in pixels of the plane */
  pixelOf({ x, y }) {
    const { view } = this;
    const across = (x - view.x) * view.scale + view.canvas.width / 2;
    const down = (y - view.y) * view.scale + view.canvas.height / 2;
    return [across / view.ratio, down / view.ratio];
  }

  draw() {
    const { paper, ratio, dark, canvas } = this.view;
    const half = Math.ceil((RADIUS + EDGE) * ratio);
    const ring = ringOf(ratio, half, dark.matches);
    for (const item of this.items) {
      const [across, down] = this.pixelOf(item).map((value) => value * ratio);
      if (across < -half || down < -half || across > canvas.width + half || down > canvas.height + half) continue;
      paper.drawImage(ring, Math.round(across) - half, Math.round(down) - half);
    }
  }

  /**
   * Show the image of the ring at a place of the window; return whether there is one.
   * @param {number} clientX
   * @param {number} clientY
   * @param {number} reach pixels
   */
  near(clientX, clientY, reach) {
    const [x, y] = this.view.placeOf(clientX, clientY);
    let least = ((reach * this.view.ratio) / this.view.scale) ** 2;
    this.marked = -1;
    this.items.forEach((item, place) => {
      const square = (item.x - x) ** 2 + (item.y - y) ** 2;
      if (square <= least) [least, this.marked] = [square, place];
    });
    if (this.marked < 0) return false;
    const item = this.items[this.marked];
    const source = `/v1/thumbs/${item.id}?side=128&item=${item.item}`;
    showCard({ source, label: item.name, note: `looks like ${item.label}`, at: this.pixelOf(item) });
    return true;
  }
}

/**
 * A ring with an edge that shows on any image; thousands are copied faster than drawn.
 * @param {number} ratio
 * @param {number} half
 * @param {boolean} isDark
 */
function ringOf(ratio, half, isDark) {
  const ring = Object.assign(document.createElement("canvas"), { width: 2 * half, height: 2 * half });
  const paper = /** @type {CanvasRenderingContext2D} */ (ring.getContext("2d"));
  for (const [width, color] of isDark ? [[5, "#000"], [2.5, "#ff9ecf"]] : [[5, "#fff"], [2.5, "#a8005c"]]) {
    paper.lineWidth = Number(width) * ratio;
    paper.strokeStyle = String(color);
    paper.beginPath();
    paper.arc(half, half, RADIUS * ratio, 0, 2 * Math.PI);
    paper.stroke();
  }
  return ring;
}

/** @param {{open: number, is_sample: boolean, without_place: number, items: Placed[]}} found */
function told({ open, is_sample, without_place, items }) {
  const count = items.length.toLocaleString("en");
  const all = is_sample ? `${count} of ${open.toLocaleString("en")} open images` : `${count} open image${items.length === 1 ? "" : "s"}`;
  const rest = without_place ? ` ${without_place.toLocaleString("en")} have no place here.` : "";
  return `${all}, each a ring among the examples that it looks like.${rest}`;
}
