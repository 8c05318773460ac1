// Draws the map: dots into the pixels of an image, and thumbnails where few examples are in sight.

import { colorOf, packed, uncertaintyColor } from "./map_colors.js";

/** @typedef {import("./map_points.js").Points} Points */

const FEW = 150; // examples in sight that are drawn as thumbnails
const KEPT = 600; // thumbnails in memory

/**
 * The half widths of the rows of a disk.
 * @param {number} radius
 */
function diskOf(radius) {
  return Array.from({ length: 2 * radius + 1 }, (_, row) => Math.round(Math.sqrt((radius + 0.4) ** 2 - (row - radius) ** 2)));
}

export class MapView {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.paper = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {Points | null} */
    this.points = null;
    this.x = this.y = 0; // in the middle
    this.zoom = 1; // 1 shows the whole map
    this.color = "label";
    /** @type {number | null} */
    this.only = null; // the label that is shown
    /** @type {Set<number>} */
    this.chosen = new Set();
    /** @type {[number, number][]} */
    this.lasso = [];
    this.marked = -1; // the example under the pointer
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    /** @type {Map<string, HTMLImageElement>} */
    this.images = new Map();
    this.inSight = 0;
    this.request = 0;
    this.drawn = () => {};
    this.drawOver = () => {}; // what lies above the examples
  }

  /** Pixels of the canvas in a distance of 1. */
  get scale() {
    const bounds = this.points?.bounds ?? { x0: -1, y0: -1, x1: 1, y1: 1 };
    const count = this.points?.count ?? 0;
    const edge = count && count < FEW ? this.side(count) : 0; // half a thumbnail on each side
    const across = (this.canvas.width - edge) / (bounds.x1 - bounds.x0 || 1);
    const down = (this.canvas.height - edge) / (bounds.y1 - bounds.y0 || 1);
    return 0.9 * this.zoom * Math.min(across, down, this.canvas.width / 2);
  }

  get ratio() {
    return Math.min(window.devicePixelRatio || 1, 2);
  }

  /**
   * The place of a point of the window.
   * @param {number} clientX
   * @param {number} clientY
   * @returns {[number, number]}
   */
  placeOf(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const across = (clientX - box.left - box.width / 2) * this.ratio;
    const down = (clientY - box.top - box.height / 2) * this.ratio;
    return [this.x + across / this.scale, this.y + down / this.scale];
  }

  /**
   * Where an example is on the canvas, in the pixels of styles.
   * @param {number} i
   * @returns {[number, number]}
   */
  pixelOf(i) {
    const points = /** @type {Points} */ (this.points);
    const across = (points.x[i] - this.x) * this.scale + this.canvas.width / 2;
    const down = (points.y[i] - this.y) * this.scale + this.canvas.height / 2;
    return [across / this.ratio, down / this.ratio];
  }

  fit() {
    const bounds = this.points?.bounds;
    if (!bounds) return;
    this.x = (bounds.x0 + bounds.x1) / 2;
    this.y = (bounds.y0 + bounds.y1) / 2;
    this.zoom = 1;
    this.draw();
  }

  /**
   * Zoom, so that a place stays where it is.
   * @param {number} factor
   * @param {[number, number]} place
   */
  zoomAt(factor, [x, y]) {
    const zoom = Math.max(0.5, Math.min(400, this.zoom * factor));
    const kept = this.zoom / zoom;
    this.x = x + (this.x - x) * kept;
    this.y = y + (this.y - y) * kept;
    this.zoom = zoom;
    this.draw();
  }

  /**
   * Move by pixels of the window.
   * @param {number} across
   * @param {number} down
   */
  move(across, down) {
    this.x -= (across * this.ratio) / this.scale;
    this.y -= (down * this.ratio) / this.scale;
    this.draw();
  }

  /** @param {number} i */
  isShown(i) {
    return this.only === null || this.points?.label[i] === this.only;
  }

  /** Draw before the next frame. */
  draw() {
    if (this.request) return;
    this.request = requestAnimationFrame(() => {
      this.request = 0;
      this.drawNow();
    });
  }

  /** Draw, and return the milliseconds that this took. */
  drawNow() {
    const points = this.points;
    const started = performance.now();
    const { width, height } = this.sized();
    if (!points || !width || !height) return 0;
    const image = this.paper.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const seen = this.dots(points, pixels, width, height);
    this.paper.putImageData(image, 0, 0);
    this.inSight = seen.length;
    if (seen.length < FEW) this.thumbs(points, seen);
    this.drawOver();
    this.lines(points);
    this.drawn();
    return performance.now() - started;
  }

  sized() {
    const width = Math.round(this.canvas.clientWidth * this.ratio);
    const height = Math.round(this.canvas.clientHeight * this.ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    return { width, height };
  }

  /**
   * Draw the dots, and return the examples in sight, as far as they are few.
   * @param {Points} points
   * @param {Uint32Array} pixels
   * @param {number} width
   * @param {number} height
   */
  dots(points, pixels, width, height) {
    const { scale, only, chosen } = this;
    const [left, top] = [width / 2 - this.x * scale, height / 2 - this.y * scale];
    const colors = this.colors(points);
    const { x, y, label, count } = points;
    const byUncertainty = this.color === "uncertainty";
    const size = this.dotSize(count);
    const quiet = packed(this.dark.matches ? [62, 60, 56] : [222, 218, 210]);
    const ring = packed(this.dark.matches ? [255, 255, 255] : [0, 0, 0]);
    /** @type {number[]} */
    const seen = [];
    const [disk, ringed] = [diskOf(size), diskOf(size + 2)];
    const dot = (/** @type {number} */ center, /** @type {number[]} */ halves, /** @type {number} */ color) => {
      let at = center - (halves.length >> 1) * width;
      for (let row = 0; row < halves.length; row += 1, at += width) {
        for (let place = at - halves[row]; place <= at + halves[row]; place += 1) pixels[place] = color;
      }
    };
    for (const wanted of only === null ? [true] : [false, true]) {
      for (let i = 0; i < count; i += 1) {
        if (only !== null && (label[i] === only) !== wanted) continue;
        const across = (x[i] * scale + left) | 0;
        const down = (y[i] * scale + top) | 0;
        if (across < size + 2 || down < size + 2 || across >= width - size - 2 || down >= height - size - 2) continue;
        if (wanted && seen.length < FEW) seen.push(i);
        const center = down * width + across;
        if (wanted && chosen.size && chosen.has(i)) dot(center, ringed, ring);
        dot(center, disk, wanted ? colors[byUncertainty ? points.uncertainty[i] : label[i]] : quiet);
      }
    }
    return seen;
  }

  /** @param {number} count */
  dotSize(count) {
    const wide = count > 20000 ? 1 : count > 1000 ? 1.6 : 3;
    return Math.round(Math.min(wide * this.ratio * Math.min(Math.max(this.zoom, 1) ** 0.3, 2), 8));
  }

  /** The longer side of a thumbnail. @param {number} count */
  side(count) {
    return Math.round(Math.max(28, Math.min(96, 640 / Math.sqrt(count + 1))) * this.ratio);
  }

  /** @param {Points} points */
  colors(points) {
    const isDark = this.dark.matches;
    if (this.color === "uncertainty") return Uint32Array.from({ length: 101 }, (_, percent) => packed(uncertaintyColor(percent, isDark)));
    return Uint32Array.from(points.labels, (_, place) => packed(colorOf(place, points.labels.length, isDark)));
  }

  /**
   * @param {Points} points
   * @param {number[]} seen
   */
  thumbs(points, seen) {
    const side = this.side(seen.length);
    const colors = this.dark.matches;
    for (const i of seen) {
      const image = this.image(points.ids[i]);
      if (!image.complete || !image.naturalWidth) continue;
      const [across, down] = this.pixelOf(i).map((value) => value * this.ratio);
      const shrink = side / Math.max(image.naturalWidth, image.naturalHeight);
      const [wide, high] = [image.naturalWidth * shrink, image.naturalHeight * shrink];
      const color = this.color === "uncertainty" ? uncertaintyColor(points.uncertainty[i], colors) : colorOf(points.label[i], points.labels.length, colors);
      const edge = this.chosen.has(i) ? 5 * this.ratio : 2 * this.ratio;
      this.paper.fillStyle = this.chosen.has(i) ? (colors ? "#fff" : "#000") : `rgb(${color.join(" ")})`;
      this.paper.fillRect(across - wide / 2 - edge, down - high / 2 - edge, wide + 2 * edge, high + 2 * edge);
      this.paper.drawImage(image, across - wide / 2, down - high / 2, wide, high);
    }
  }

  /** @param {string} id */
  image(id) {
    let image = this.images.get(id);
    if (!image) {
      image = Object.assign(new Image(), { decoding: "async", src: `/v1/thumbs/${id}?side=128` });
      image.addEventListener("load", () => this.draw());
      this.images.set(id, image);
      if (this.images.size > KEPT) this.images.delete([...this.images.keys()][0]);
    }
    return image;
  }

  /**
   * Draw the lasso, and a ring around the example under the pointer.
   * @param {Points} points
   */
  lines(points) {
    const { paper, ratio } = this;
    paper.strokeStyle = paper.fillStyle = this.dark.matches ? "#fff" : "#000";
    paper.lineWidth = 1.5 * ratio;
    if (this.marked >= 0 && this.marked < points.count) {
      const [across, down] = this.pixelOf(this.marked);
      paper.beginPath();
      paper.arc(across * ratio, down * ratio, 9 * ratio, 0, 2 * Math.PI);
      paper.stroke();
    }
    if (this.lasso.length < 2) return;
    paper.beginPath();
    for (const [x, y] of this.lasso) {
      paper.lineTo((x - this.x) * this.scale + this.canvas.width / 2, (y - this.y) * this.scale + this.canvas.height / 2);
    }
    paper.closePath();
    paper.stroke();
    paper.globalAlpha = 0.08;
    paper.fill();
    paper.globalAlpha = 1;
  }
}
