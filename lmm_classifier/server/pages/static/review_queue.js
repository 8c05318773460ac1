// The groups that come next, and the images that are loaded before anybody asks for them.

/**
 * @typedef {{label: string, score: number, neighbors: {id: string | null, label: string, similarity: number}[]}} Candidate
 * @typedef {{id: number, name: string, content_hash: string, label: string, score: number, reason: string, why: string, apart: boolean,
 *   candidates: Candidate[], familiarity: number | null, similarity: number | null}} Item
 * @typedef {{id: string, kind: string, size: number, suggested_label: string | null,
 *   nearest_label: string | null, is_proposal: boolean, items: Item[], rest: number[],
 *   labels: string[], start: string}} Group
 */

const AHEAD = 3; // images
const KEPT = 12; // images in memory
const DIGITS = 9;

/** @param {string} url */
async function read(url) {
  const reply = await fetch(url, { signal: AbortSignal.timeout(60000) });
  const values = await reply.json();
  if (!reply.ok) throw new Error(values.detail);
  return values;
}

/** All labels of the index. @returns {Promise<string[]>} */
export async function labels() {
  return (await read("/v1/labels")).labels.map((/** @type {{label: string}} */ row) => row.label);
}

export class ReviewQueue {
  /** @param {number} run */
  constructor(run) {
    this.run = run;
    /** @type {Group[]} */
    this.groups = [];
    /** @type {Set<number>} items that are decided, or decide themselves */
    this.gone = new Set();
    this.place = 0; // of the group
    this.position = 0; // of the item among the items of the group that are left
    /** @type {string | null} */
    this.next = null;
    this.isLoaded = false;
    /** @type {Map<number, HTMLImageElement>} */
    this.images = new Map();
  }

  get group() {
    return this.groups[this.place];
  }

  /** @returns {Item | undefined} */
  get item() {
    return this.left()[this.position];
  }

  /**
   * Items of a group that nobody decided.
   * @param {Group | undefined} group
   * @returns {Item[]}
   */
  left(group = this.group) {
    return group ? group.items.filter((item) => !this.gone.has(item.id)) : [];
  }

  /**
   * Ids of all items of a group that nobody decided, also of those that are not loaded.
   * @param {Group} group
   */
  all(group) {
    return [...this.left(group).map((item) => item.id), ...group.rest.filter((id) => !this.gone.has(id))];
  }

  /** Begin with a new order; the item in sight stays in sight. */
  async load() {
    const seen = this.item;
    const former = this.group;
    const page = await read(`/v1/review?run=${this.run}`);
    this.groups = page.groups.map((/** @type {any} */ group) => this.opened(group, page.cursor));
    this.next = page.next;
    this.place = this.position = 0;
    this.isLoaded = true;
    if (seen && former && !this.gone.has(seen.id)) this.keepInSight(seen, former);
    this.settle();
    return page.run;
  }

  /**
   * @param {Item} seen
   * @param {Group} former
   */
  keepInSight(seen, former) {
    const place = this.groups.findIndex((group) => group.items.some((item) => item.id === seen.id));
    if (place < 0) {
      this.groups.unshift({ ...former, items: this.left(former) });
    } else {
      const group = this.groups[place];
      group.labels = [...new Set([...former.labels, ...group.labels])].slice(0, DIGITS);
      this.groups.splice(place, 1);
      this.groups.unshift(group);
    }
    this.position = Math.max(this.left().findIndex((item) => item.id === seen.id), 0);
  }

  /** Load the next groups of this order where few are left; return whether something came. */
  async more() {
    if (this.next === null || this.groups.length - this.place > 2) return false;
    const cursor = this.next;
    this.next = null;
    try {
      const page = await read(`/v1/review?run=${this.run}&cursor=${encodeURIComponent(cursor)}`);
      this.groups.push(...page.groups.map((/** @type {any} */ group) => this.opened(group, page.cursor)));
      this.next = page.next;
      this.settle();
      return true;
    } catch (error) {
      this.next = cursor;
      throw error;
    }
  }

  /** Load the items of the group that are not loaded, before the others are decided. */
  async rest() {
    const group = this.group;
    const count = this.left().length;
    if (!group || count > AHEAD || this.all(group).length === count) return false;
    const page = await read(`/v1/review?run=${this.run}&cursor=${encodeURIComponent(group.start)}`);
    const groups = /** @type {Group[]} */ (page.groups);
    const found = groups.find((other) => other.items.some((item) => group.rest.includes(item.id)));
    if (!found) {
      group.rest = [];
      return true;
    }
    const known = new Set(group.items.map((item) => item.id));
    group.items.push(...found.items.filter((item) => !known.has(item.id)));
    group.rest = found.rest;
    group.labels = labelsOf(group.items, group.labels);
    return true;
  }

  /**
   * @param {any} group
   * @param {string} start
   * @returns {Group}
   */
  opened(group, start) {
    return { ...group, start, labels: labelsOf(group.items, []) };
  }

  /** Go to the next group that has items, where this one has none. */
  settle() {
    while (this.group && !this.all(this.group).length) {
      if (this.place + 1 >= this.groups.length) break;
      this.place += 1;
      this.position = 0;
    }
    this.position = Math.max(Math.min(this.position, this.left().length - 1), 0);
  }

  /** @param {number[]} items */
  drop(items) {
    for (const item of items) this.gone.add(item);
    this.settle();
  }

  /**
   * Let items be open again, and go to the first of them.
   * @param {number[]} items
   */
  putBack(items) {
    for (const item of items) this.gone.delete(item);
    const place = this.groups.findIndex((group) => group.items.some((item) => items.includes(item.id)));
    if (place < 0) return false;
    this.place = place;
    this.position = this.left().findIndex((item) => items.includes(item.id));
    return true;
  }

  /** @param {number} step */
  move(step) {
    const count = this.left().length;
    if (this.position + step >= count) return this.moveGroup(1);
    if (this.position + step < 0) return this.moveGroup(-1);
    this.position += step;
    return true;
  }

  /** @param {number} step */
  moveGroup(step) {
    let place = this.place + step;
    while (this.groups[place] && !this.all(this.groups[place]).length) place += step;
    if (!this.groups[place]) return false;
    this.place = place;
    this.position = 0;
    return true;
  }

  /** Items that come next. */
  upcoming() {
    const own = this.left().slice(this.position + 1);
    const others = this.groups.slice(this.place + 1).flatMap((group) => this.left(group));
    return [...own, ...others];
  }

  /**
   * The image of an item, which is being loaded or is loaded.
   * @param {Item} item
   */
  image(item) {
    let image = this.images.get(item.id);
    if (!image || (image.complete && !image.naturalWidth)) {
      image = new Image();
      image.alt = "";
      image.decoding = "sync";
      image.src = thumb(item, 1024);
      this.images.set(item.id, image);
    }
    return image;
  }

  preload() {
    const wanted = [this.item, ...this.upcoming().slice(0, AHEAD)].filter((item) => item !== undefined);
    for (const item of wanted) this.image(item).decode().catch(() => {});
    for (const id of [...this.images.keys()].slice(0, -KEPT)) {
      if (!wanted.some((item) => item.id === id)) this.images.delete(id);
    }
  }
}

/**
 * Labels in the order of their digits: those that are there keep theirs.
 * @param {Item[]} items
 * @param {string[]} labels
 */
function labelsOf(items, labels) {
  const all = items.flatMap((item) => item.candidates.map((candidate) => candidate.label));
  return [...new Set([...labels, ...all])].slice(0, DIGITS);
}

/**
 * The address of a small image of an item.
 * @param {{id: number, content_hash: string}} item
 * @param {number} side
 */
export function thumb(item, side) {
  return `/v1/thumbs/${item.content_hash}?side=${side}&item=${item.id}`;
}
