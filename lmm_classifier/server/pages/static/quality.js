/**
 * The Quality page: the sliders show at once what their targets give, and a running calibration shows how far it is.
 *
 * All figures come from the server, computed as `calibrate` computes them; here they are only looked up.
 *
 * @typedef {{confidence_level: number, target_precision: number[], keep_known: number[], refusals: (string|null)[],
 *   unknown: number[], accepted: (number|null)[][], coarse: (number|null)[][], ambiguous: (number|null)[][],
 *   levels: (number|null)[][][][], thresholds: (number|null)[][]}} Choices
 */

const ADDRESS = "/v1/calibration";
const POLL = 500; // milliseconds

/** @param {string} id @returns {any} */
const find = (id) => document.getElementById(id);

/** @param {number} fraction @returns {number} percent as a whole number, as the server rounds */
const whole = (fraction) => Math.floor(100 * fraction + 0.5);

/** @param {number} number @returns {string} with commas, as the server writes it */
const count = (number) => number.toLocaleString("en-US");

/** @type {Map<string, Promise<Choices>>} */
const fetched = new Map();

/** @param {string} query @returns {Promise<any>} */
async function ask(query) {
  const answer = await fetch(`${ADDRESS}?${query}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

/** @param {string} level @returns {Promise<Choices>} */
function choicesAt(level) {
  let found = fetched.get(level);
  if (!found) {
    found = ask(`choices=true&confidence_level=${encodeURIComponent(level)}`).then((values) => values.choices);
    found.catch(() => fetched.delete(level)); // the server may be back next time
    fetched.set(level, found);
  }
  return found;
}

/** @param {number[]} rates @param {string} value @returns {number} the place of the nearest rate */
function place(rates, value) {
  const distances = rates.map((rate) => Math.abs(rate - Number(value)));
  return distances.indexOf(Math.min(...distances));
}

/** @param {string} id @param {number} start @param {number} width */
function draw(id, start, width) {
  find(id).setAttribute("x", (100 * start).toFixed(2));
  find(id).setAttribute("width", (100 * width).toFixed(2));
}

/** @param {number|null} fraction */
const percent = (fraction) => (fraction === null ? "-" : `${(Math.floor(1000 * fraction + 0.5) / 10).toFixed(1)}%`);

/**
 * Write what each level answers, and how often that is right.
 * @param {(number|null)[][]} levels
 * @param {(number|null)[]} thresholds
 */
function drawLevels(levels, thresholds) {
  let [all, right] = [0, 0];
  for (const [level, [answered, correct]] of levels.entries()) {
    all += answered ?? 0;
    right += (answered ?? 0) * (correct ?? 0);
    write(String(level), thresholds[level]?.toFixed(4) ?? "none", percent(answered), percent(correct));
  }
  if (levels.length) write("some", "", percent(all), percent(all ? right / all : null));
}

/** @param {string} level @param {string[]} cells */
function write(level, ...cells) {
  const row = /** @type {any} */ (document.querySelector(`#levels [data-level="${level}"]`));
  cells.forEach((text, place) => (row.cells[place + 1].textContent = text));
}

async function show() {
  const precision = find("target_precision").value;
  const keep = find("keep_known").value;
  const level = find("confidence_level").value;
  find("target_precision-value").textContent = `${whole(Number(precision))}%`;
  find("keep_known-value").textContent = `${whole(Number(keep))}%`;
  const sentence = find("sentence");
  let choices;
  try {
    choices = await choicesAt(level);
  } catch {
    sentence.textContent = "The server does not answer. The figures are not those of these targets.";
    find("shares").toggleAttribute("hidden", true);
    return;
  }
  const current = [find("target_precision").value, find("keep_known").value, find("confidence_level").value];
  if (`${current}` !== `${[precision, keep, level]}`) return; // moved on meanwhile
  const row = place(choices.target_precision, precision);
  const column = place(choices.keep_known, keep);
  const [accepted, unknown, refusal] = [choices.accepted[row][column], choices.unknown[column], choices.refusals[row]];
  sentence.toggleAttribute("data-refused", accepted === null);
  document.getElementById("store")?.toggleAttribute("disabled", accepted === null);
  find("shares").toggleAttribute("hidden", accepted === null);
  document.getElementById("levels")?.toggleAttribute("hidden", accepted === null);
  if (accepted === null) {
    sentence.textContent = refusal;
    return;
  }
  const asks = choices.ambiguous[row][column] ?? 0;
  const coarse = choices.coarse[row][column] ?? 0;
  const levels = choices.levels[row][column];
  draw("share-accepts", 0, accepted);
  draw("share-coarse", accepted, coarse);
  draw("share-asks", accepted + coarse, asks);
  draw("share-unknown", accepted + coarse + asks, unknown);
  drawLevels(levels, choices.thresholds[row]);
  const wrong = whole(1 - choices.target_precision[row]);
  const rest = Math.max(100 - whole(accepted) - whole(coarse) - whole(unknown), 0); // the rounded parts make 100 together
  const coarser = levels.length ? ` ${whole(coarse)}% more by a coarse label,` : "";
  const shares = `accepts ${whole(accepted)}%,${coarser} asks ${rest}%, unknown ${whole(unknown)}%`;
  sentence.textContent = `${shares}; at most ${wrong}% wrong with a confidence of ${whole(choices.confidence_level)}%`;
}

async function follow() {
  const banner = find("job");
  let job;
  try {
    job = (await ask("")).job;
  } catch {
    find("job-text").textContent = "The server does not answer. Trying again.";
    window.setTimeout(follow, 4 * POLL);
    return;
  }
  if (!job || String(job.id) !== banner.dataset.job || job.state !== "running") {
    window.location.replace("/quality");
    return;
  }
  if (job.total) {
    find("job-text").textContent = `${job.stage}: ${count(job.done)} of ${count(job.total)}`;
    find("job-progress").max = job.total;
    find("job-progress").value = job.done;
  }
  window.setTimeout(follow, POLL);
}

find("show").hidden = true; // the sliders show at once
find("targets").addEventListener("input", show);
if (find("job")) follow();
