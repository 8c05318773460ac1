// The alarm of the drift test of a run: the page that the server writes has it; here it comes while images are classified.

import { get } from "./review_view.js";

let isAsked = false;

/**
 * Show an alarm that came after the page was loaded.
 * @param {{drift: {is_alarm: boolean} | null}} run
 */
export async function showDrift(run) {
  const place = get("drift");
  if (isAsked || !run.drift?.is_alarm || place.childElementCount) return;
  isAsked = true;
  try {
    const reply = await fetch(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    place.replaceChildren(.../** @type {HTMLElement} */ (page.getElementById("drift")).children);
  } catch {
    isAsked = false; // the next event asks again
  }
}
