// The card next to the pointer: the image that lies there, and what is known of it.

/**
 * @param {string} id
 * @returns {any}
 */
const get = (id) => document.getElementById(id);

/** @param {{source: string, label: string, note: string, at: [number, number]}} shown `at` is in pixels of the plane */
export function showCard({ source, label, note, at: [across, down] }) {
  const [card, box] = [get("map-near"), get("map-plane")];
  card.hidden = false;
  if (get("map-near-image").getAttribute("src") !== source) get("map-near-image").src = source;
  get("map-near-label").textContent = label;
  get("map-near-uncertainty").textContent = note;
  card.style.left = `${Math.max(4, Math.min(across + 14, box.clientWidth - card.offsetWidth - 4))}px`;
  card.style.top = `${Math.max(4, Math.min(down + 14, box.clientHeight - card.offsetHeight - 4))}px`;
}

export function hideCard() {
  get("map-near").hidden = true;
}
