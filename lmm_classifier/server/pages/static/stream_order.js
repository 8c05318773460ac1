// The order in which images of a folder are sent: one that has nothing to do with what they show.

/**
 * Items in the order of a digest of their names: it looks random, and is always the same.
 *
 * Folders are often sorted by label or by day. In the order of their names, the first images would all be of one label,
 * which the drift test of the run would take for a change. The server does the same with its own folders.
 * @template T
 * @param {T[]} items
 * @param {(item: T) => string} nameOf
 * @returns {T[]}
 */
export function inStreamOrder(items, nameOf) {
  const digested = items.map((item) => ({ item, digest: digest(nameOf(item)) }));
  return digested.sort((one, other) => one.digest - other.digest).map(({ item }) => item);
}

/**
 * FNV-1a of 32 bits, mixed at the end so that names that differ in their last character are far apart.
 * It needs no secure context, which the digests of browsers do.
 * @param {string} name
 */
function digest(name) {
  let value = 0x811c9dc5;
  for (let place = 0; place < name.length; place += 1) value = Math.imul(value ^ name.charCodeAt(place), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
