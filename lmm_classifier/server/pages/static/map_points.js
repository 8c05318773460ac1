// The examples on the map: where they lie, what they are, and which of them are near a place.

const CELLS = 256; // along each side
const BYTES = 6; // of an example
const TRIES = 5; // until the two parts of the map belong together
const UNIT = 1000; // steps in a distance of 1

/** @typedef {{x0: number, y0: number, x1: number, y1: number}} Bounds */

export class Points {
  /**
   * @param {ArrayBuffer} positions
   * @param {{labels: string[], ids: string[], paths: string[], uncertainty: number[], is_sample: boolean, map_version: number}} known
   */
  constructor(positions, known) {
    const view = new DataView(positions);
    this.count = positions.byteLength / BYTES;
    this.x = new Float32Array(this.count);
    this.y = new Float32Array(this.count);
    this.label = new Uint16Array(this.count);
    for (let i = 0; i < this.count; i += 1) {
      this.x[i] = view.getInt16(BYTES * i, true) / UNIT;
      this.y[i] = view.getInt16(BYTES * i + 2, true) / UNIT;
      this.label[i] = view.getUint16(BYTES * i + 4, true);
    }
    this.labels = known.labels;
    this.ids = known.ids;
    this.paths = known.paths;
    this.uncertainty = known.uncertainty;
    this.isSample = known.is_sample;
    this.bounds = this.bounded();
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    this.members = new Uint32Array(this.count);
    this.index();
  }

  /** @returns {Bounds} */
  bounded() {
    const bounds = { x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity };
    for (let i = 0; i < this.count; i += 1) {
      bounds.x0 = Math.min(bounds.x0, this.x[i]);
      bounds.x1 = Math.max(bounds.x1, this.x[i]);
      bounds.y0 = Math.min(bounds.y0, this.y[i]);
      bounds.y1 = Math.max(bounds.y1, this.y[i]);
    }
    return this.count ? bounds : { x0: -1, y0: -1, x1: 1, y1: 1 };
  }

  /** Sort the examples by the cell of a grid that they are in. */
  index() {
    const cells = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i += 1) {
      cells[i] = this.column(this.x[i]) + CELLS * this.row(this.y[i]);
      this.starts[cells[i] + 1] += 1;
    }
    for (let cell = 0; cell < CELLS * CELLS; cell += 1) this.starts[cell + 1] += this.starts[cell];
    const next = this.starts.slice();
    for (let i = 0; i < this.count; i += 1) {
      this.members[next[cells[i]]] = i;
      next[cells[i]] += 1;
    }
  }

  /** @param {number} x */
  column(x) {
    const width = this.bounds.x1 - this.bounds.x0 || 1;
    return Math.max(0, Math.min(CELLS - 1, Math.floor((CELLS * (x - this.bounds.x0)) / width)));
  }

  /** @param {number} y */
  row(y) {
    const height = this.bounds.y1 - this.bounds.y0 || 1;
    return Math.max(0, Math.min(CELLS - 1, Math.floor((CELLS * (y - this.bounds.y0)) / height)));
  }

  /**
   * Return the example nearest to a place, -1 where none is within the distance.
   * @param {number} x
   * @param {number} y
   * @param {number} distance
   * @param {(i: number) => boolean} isShown
   */
  nearest(x, y, distance, isShown) {
    let best = -1;
    let least = distance * distance;
    this.within({ x0: x - distance, y0: y - distance, x1: x + distance, y1: y + distance }, (i) => {
      const square = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (square <= least && isShown(i)) {
        least = square;
        best = i;
      }
    });
    return best;
  }

  /**
   * Call a function with each example within bounds.
   * @param {Bounds} bounds
   * @param {(i: number) => void} found
   */
  within(bounds, found) {
    const left = this.column(bounds.x0);
    const right = this.column(bounds.x1);
    for (let row = this.row(bounds.y0); row <= this.row(bounds.y1); row += 1) {
      for (let at = this.starts[row * CELLS + left]; at < this.starts[row * CELLS + right + 1]; at += 1) {
        const i = this.members[at];
        const [x, y] = [this.x[i], this.y[i]];
        if (x >= bounds.x0 && x <= bounds.x1 && y >= bounds.y0 && y <= bounds.y1) found(i);
      }
    }
  }

  /**
   * Return the examples inside a closed line.
   * @param {[number, number][]} corners
   * @param {(i: number) => boolean} isShown
   */
  inside(corners, isShown) {
    const xs = corners.map(([x]) => x);
    const ys = corners.map(([, y]) => y);
    const bounds = { x0: Math.min(...xs), y0: Math.min(...ys), x1: Math.max(...xs), y1: Math.max(...ys) };
    /** @type {number[]} */
    const chosen = [];
    this.within(bounds, (i) => {
      let isInside = false;
      const [x, y] = [this.x[i], this.y[i]];
      for (let a = 0, b = corners.length - 1; a < corners.length; b = a, a += 1) {
        const crosses = ys[a] > y !== ys[b] > y;
        if (crosses && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) isInside = !isInside;
      }
      if (isInside && isShown(i)) chosen.push(i);
    });
    return chosen;
  }
}

/**
 * Ask for the map. The two parts of it belong together where their tags are the same.
 * @param {string} known the tag of the map that is shown
 * @returns {Promise<{points?: Points, tag: string, state: string, progress?: {stage: string, done: number, total: number}}>}
 */
export async function load(known = "") {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const headers = known ? { "if-none-match": known } : undefined;
    const reply = await fetch("/v1/map", { headers, signal: AbortSignal.timeout(60000) });
    const state = reply.headers.get("x-map-state") ?? "";
    if (reply.status === 304) return { tag: known, state };
    if (reply.status === 202) return { tag: "", state: "none", progress: (await reply.json()).progress };
    if (!reply.ok) throw new Error((await reply.json()).detail);
    const tag = reply.headers.get("etag") ?? "";
    const [positions, others] = await Promise.all([
      reply.arrayBuffer(),
      fetch("/v1/map/ids", { signal: AbortSignal.timeout(60000) }),
    ]);
    const values = await others.json();
    if (!others.ok) throw new Error(values.detail);
    if (others.headers.get("etag") === tag) return { points: new Points(positions, values), tag, state };
  }
  throw new Error("The dataset changes too fast to be shown.");
}
