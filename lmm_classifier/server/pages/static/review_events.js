// What the server tells about a run while a person reviews it.

const AGAIN = 2000; // milliseconds

export class RunEvents {
  /**
   * @param {number} run
   * @param {Record<string, (values: any) => void>} on acts by the kind of the event
   * @param {(isThere: boolean) => void} reached
   */
  constructor(run, on, reached) {
    this.run = run;
    this.on = on;
    this.reached = reached;
    /** @type {EventSource | null} */
    this.source = null;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.follow());
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", () => this.follow());
    this.follow();
  }

  /** Listen while the page is in sight: a browser has few connections for all its tabs. */
  follow() {
    if (document.hidden) this.close();
    else if (!this.source) this.open();
  }

  open() {
    clearTimeout(this.timer);
    const source = new EventSource(`/v1/runs/${this.run}/events`);
    this.source = source;
    source.addEventListener("open", () => this.reached(true));
    source.addEventListener("error", () => {
      this.reached(false);
      this.close();
      this.timer = setTimeout(() => this.follow(), AGAIN);
    });
    for (const [kind, act] of Object.entries(this.on)) {
      source.addEventListener(kind, (event) => act(JSON.parse(/** @type {MessageEvent} */ (event).data)));
    }
  }

  close() {
    this.source?.close();
    this.source = null;
  }
}
