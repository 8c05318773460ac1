// Answers that are not saved yet: they wait in the storage of the browser, and are sent one after the other.

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {"decide" | "accept" | "undo"} kind `accept`: the items that decide themselves, whichever they are
 * @property {number[]} items
 * @property {any} [decision]
 * @property {string} [of] the entry whose answer is undone
 * @property {number} [answer] the answer that is undone
 */

/**
 * @typedef {object} Told
 * @property {(entry: Entry, reply: any) => void} saved
 * @property {(entry: Entry, why: string) => void} refused
 * @property {(count: number, isAway: boolean) => void} changed
 */

const REMEMBERED = 300; // answers of entries, for undoing them
const SLOWEST = 8000; // milliseconds between two tries

export class Outbox {
  /**
   * @param {number} run
   * @param {string} created when the run was: another one may have its number later
   * @param {Told} told
   */
  constructor(run, created, told) {
    this.run = run;
    this.scope = `lmm-review:${run}@${created}:`;
    this.told = told;
    this.key = this.scope + (sessionStorage.getItem("lmm-tab") ?? this.newTab());
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {[string, number][]} */
    this.answers = [];
    this.isSending = false;
    this.isAway = false;
    this.wait = 500;
    this.timer = 0;
  }

  newTab() {
    const tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
    sessionStorage.setItem("lmm-tab", tab);
    return tab;
  }

  /** Take what this tab and closed ones left, and begin to send. */
  async open() {
    if (!(await this.hold(this.key))) {
      this.key = this.scope + this.newTab(); // this tab is a copy of another one
      await this.hold(this.key);
    }
    this.take(this.key);
    const others = Object.keys(localStorage).filter((key) => key.startsWith(this.scope) && key !== this.key);
    for (const key of others) {
      if (await this.hold(key)) {
        this.take(key);
        this.store();
        localStorage.removeItem(key);
      }
    }
    window.addEventListener("online", () => this.retry());
    this.changed();
    this.send();
  }

  /**
   * Hold the lock of a tab until this one is closed; without locks everybody holds all, and answers may be sent twice,
   * which changes nothing.
   * @param {string} key
   * @returns {Promise<boolean>}
   */
  hold(key) {
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((resolve) => {
      navigator.locks.request(key, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock === null ? undefined : new Promise(() => {});
      });
    });
  }

  /** @param {string} key */
  take(key) {
    try {
      const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
      this.entries.push(...(kept.entries ?? []));
      this.answers.push(...(kept.answers ?? []));
    } catch {
      // another program wrote it
    }
  }

  get count() {
    return this.entries.length;
  }

  /** Ids of the items that have an answer which is not saved. */
  get items() {
    return this.entries.flatMap((entry) => (entry.kind === "decide" ? entry.items : []));
  }

  /**
   * @param {Omit<Entry, "id">} values
   * @returns {Entry}
   */
  add(values) {
    const entry = { id: crypto.getRandomValues(new Uint32Array(3)).join("-"), ...values };
    this.entries.push(entry);
    this.changed();
    this.send();
    return entry;
  }

  /**
   * Take an answer back that was not sent; return whether that was possible.
   * @param {string} id
   */
  withdraw(id) {
    const place = this.entries.findIndex((entry) => entry.id === id);
    if (place < 0 || (place === 0 && this.isSending)) return false;
    this.entries.splice(place, 1);
    this.changed();
    return true;
  }

  retry() {
    clearTimeout(this.timer);
    this.send();
  }

  async send() {
    if (this.isSending) return;
    this.isSending = true;
    try {
      while (this.entries.length && (await this.sendFirst()));
    } finally {
      this.isSending = false;
    }
    if (this.entries.length) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.send(), this.wait);
      this.wait = Math.min(2 * this.wait, SLOWEST);
    }
  }

  /** Send the first entry; return whether the next one may follow. */
  async sendFirst() {
    const entry = this.entries[0];
    const request = this.requestOf(entry);
    let reply = null;
    let values = null;
    if (request) {
      try {
        reply = await fetch(request.url, { ...request.options, signal: AbortSignal.timeout(30000) });
        values = await reply.json();
      } catch {
        reply = null;
      }
      const isRefused = values?.type === "/problems/read-only"; // another server makes the edits, perhaps not for long
      if (!reply || isRefused || reply.status >= 500 || reply.status === 429 || reply.status === 408) {
        this.isAway = true;
        this.changed();
        return false;
      }
    }
    this.isAway = false;
    this.wait = 500;
    this.entries.shift();
    if (reply?.ok && entry.kind !== "undo" && values.answer !== null) this.answers.push([entry.id, values.answer]);
    this.changed();
    if (reply?.ok) this.told.saved(entry, values);
    else if (reply) this.told.refused(entry, values?.detail ?? `The server answered ${reply.status}.`);
    return true;
  }

  /** @param {Entry} entry */
  requestOf(entry) {
    const headers = { "content-type": "application/json" };
    if (entry.kind === "decide") {
      const body = JSON.stringify({ items: entry.items, decision: entry.decision });
      return { url: "/v1/review/decisions?vote=false", options: { method: "POST", headers, body } };
    }
    if (entry.kind === "accept") {
      const body = JSON.stringify({ run: this.run });
      return { url: "/v1/review/accept", options: { method: "POST", headers, body } };
    }
    const answer = entry.answer ?? this.answers.find(([id]) => id === entry.of)?.[1];
    if (answer === undefined) return null; // its answer was refused, so there is nothing to undo
    return { url: `/v1/review/answers/${answer}/undo?vote=false`, options: { method: "POST" } };
  }

  store() {
    this.answers = this.answers.slice(-REMEMBERED);
    try {
      if (this.entries.length) {
        localStorage.setItem(this.key, JSON.stringify({ entries: this.entries, answers: this.answers }));
      } else {
        localStorage.removeItem(this.key);
      }
    } catch {
      // no room: the answers wait in this page alone
    }
  }

  changed() {
    this.store();
    this.told.changed(this.entries.length, this.isAway);
  }
}
