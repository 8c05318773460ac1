// The labels below the map, with their colors and numbers; each is a button that shows its examples only.

import { made } from "./map_choice.js";
import { colorOf } from "./map_colors.js";

/** @typedef {import("./map_view.js").MapView} MapView */

const LISTED = 60; // labels

/**
 * Draw the labels, those with most examples first; the focus stays at its place.
 * @param {MapView} view
 * @param {(label: string) => void} choose shows one label, or all for ""
 */
export function drawLegend(view, choose) {
  const list = /** @type {HTMLElement} */ (document.getElementById("map-legend"));
  const points = /** @type {import("./map_points.js").Points} */ (view.points);
  const counts = new Uint32Array(points.labels.length);
  for (const label of points.label) counts[label] += 1;
  const places = points.labels.map((_, place) => place).sort((one, other) => counts[other] - counts[one]);
  const items = places.slice(0, LISTED).map((place) => made("li", {}, button(view, place, counts[place], choose)));
  if (view.color === "uncertainty") {
    const told = "The redder, the more of the ten nearest have another label.";
    items.unshift(made("li", { className: "quiet told", textContent: told }));
  }
  if (places.length > LISTED) {
    items.push(made("li", { className: "quiet", textContent: `and ${places.length - LISTED} more labels` }));
  }
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(...items);
  if (focused >= 0) items[focused]?.querySelector("button")?.focus();
}

/**
 * @param {MapView} view
 * @param {number} place
 * @param {number} count
 * @param {(label: string) => void} choose
 */
function button(view, place, count, choose) {
  const { labels } = /** @type {import("./map_points.js").Points} */ (view.points);
  const dot = made("span", { className: "dot", ariaHidden: "true" });
  if (view.color === "label") dot.style.background = `rgb(${colorOf(place, labels.length, view.dark.matches).join(" ")})`;
  const name = made("bdi", { textContent: labels[place] });
  const number = made("span", { className: "quiet", textContent: count.toLocaleString("en") });
  const pressed = { type: "button", ariaPressed: String(view.only === place) };
  const shown = made("button", pressed, dot, name, number);
  shown.addEventListener("click", () => choose(view.only === place ? "" : labels[place]));
  return shown;
}
