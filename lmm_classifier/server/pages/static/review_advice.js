// Whether a person may stop, and what accepts the images that decide themselves then.

import { get, percent } from "./review_view.js";

const PAUSE = 3000; // milliseconds between two questions

export class Advice {
  /** @param {number} run */
  constructor(run) {
    this.run = run;
    this.asked = 0; // when
    this.acceptable = 0; // images that can be accepted
  }

  /** @param {boolean} [isUrgent] */
  async ask(isUrgent = false) {
    if (!isUrgent && Date.now() - this.asked < PAUSE) return;
    this.asked = Date.now();
    const reply = await fetch(`/v1/review/stopping?run=${this.run}`).catch(() => null);
    if (reply?.ok) this.draw(await reply.json());
  }

  /** Return whether something can be accepted, once. */
  take() {
    const count = this.acceptable;
    this.acceptable = 0;
    if (get("accept")) get("accept").hidden = true;
    return count > 0;
  }

  /** @param {any} advice */
  draw({ target, calibrated, open, deciding, may_stop: mayStop }) {
    const reach = calibrated
      ? `your target of ${percent(target)}`
      : `about ${percent(target)}, roughly, because the index is not calibrated`;
    const box = get("advice");
    box.hidden = open === 0 || deciding === 0;
    box.classList.toggle("may-stop", mayStop);
    get("advice-text").textContent = mayStop
      ? `You may stop: the rest decide themselves at ${reach}.`
      : `${deciding} of the ${open} open images would decide themselves at ${reach}.`;
    this.acceptable = calibrated ? deciding : 0;
    const button = get("accept");
    if (!button) return;
    button.hidden = this.acceptable === 0;
    get("accept-text").textContent = mayStop ? "Accept the rest" : `Accept these ${deciding}`;
  }
}
