// The colors of the map: of labels, and of uncertainty.

const TABLEAU = [
  [31, 119, 180], [214, 104, 0], [44, 140, 44], [200, 39, 40], [128, 90, 180],
  [140, 86, 75], [205, 90, 170], [110, 110, 110], [140, 140, 20], [15, 150, 165],
];

/**
 * The color of a label: one of ten where they are enough, else evenly turned hues.
 * @param {number} place
 * @param {number} count
 * @param {boolean} isDark
 * @returns {number[]}
 */
export function colorOf(place, count, isDark) {
  const lift = isDark ? 0.35 : 0;
  if (count <= TABLEAU.length) return TABLEAU[place].map((part) => Math.round(part + (255 - part) * lift));
  const hue = (place * 137.508) % 360;
  const light = (isDark ? 0.62 : 0.42) + 0.1 * ((place % 3) - 1);
  const tone = (/** @type {number} */ n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - 0.65 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [tone(0), tone(8), tone(4)];
}

/** @param {number[]} color */
export function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/**
 * From quiet to red.
 * @param {number} percent
 * @param {boolean} isDark
 */
export function uncertaintyColor(percent, isDark) {
  const [from, to] = isDark ? [[92, 100, 106], [255, 130, 100]] : [[176, 184, 190], [196, 30, 20]];
  return from.map((part, place) => Math.round(part + ((to[place] - part) * percent) / 100));
}
