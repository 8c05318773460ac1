// What all pages with forms share: keys that press the buttons that carry them, the legend, and what htmx reports.

const FOCUS = ".finding";
const UNDO = "form[data-undo]";
const UNDER_WAY = "form[data-undo].htmx-request";

let presses = 0; // of the key that undoes, while an undo is under way: its answer says what comes next

/**
 * Return the controls that a key presses: those of cards without an answer first, and there of the card with the focus.
 * @returns {HTMLElement[]}
 */
function controls() {
  const scope = document.querySelector("dialog[open]") ?? document;
  const own = document.activeElement?.closest("article");
  const all = /** @type {HTMLElement[]} */ ([...scope.querySelectorAll("[data-key]")]);
  const shown = all.filter((control) => control.checkVisibility() && !(/** @type {HTMLButtonElement} */ (control).disabled));
  const later = (/** @type {HTMLElement} */ one) => {
    const isTaught = Boolean(one.closest("article")?.querySelector(".taught"));
    const isAside = Boolean(one.closest(".frame")); // a notice knows better what to undo than the head of the page
    return 4 * Number(isAside) + 2 * Number(isTaught) + Number(Boolean(own) && !own?.contains(one));
  };
  return shown.sort((one, other) => later(one) - later(other));
}

/**
 * Return the words of a control for the legend.
 * @param {HTMLElement} control
 */
function wordsOf(control) {
  const copy = /** @type {HTMLElement} */ (control.cloneNode(true));
  copy.querySelectorAll("kbd").forEach((key) => key.remove());
  return control.dataset.keyText ?? copy.textContent?.replace(/\s+/g, " ").trim() ?? "";
}

/** @param {string} key */
function shown(key) {
  return { ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" }[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
  const target = /** @type {Element} */ (event.target);
  if (target.closest("textarea, select, input:not([type=checkbox], [type=file])")) {
    if (event.key === "Escape") /** @type {HTMLElement} */ (target).blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if ((event.key === "Enter" || event.key === " ") && target.closest("a, button, summary, input")) return;
  if (event.key === "?") {
    event.preventDefault();
    legend();
    return;
  }
  const found = controls().find((control) => control.dataset.key === (event.key.length === 1 ? event.key.toLowerCase() : event.key));
  if (!found) return;
  event.preventDefault();
  if (event.repeat) return;
  if (found.closest(UNDO) && document.querySelector(UNDER_WAY)) {
    presses += 1;
    return;
  }
  if (found.matches("input:not([type=file]), textarea")) {
    found.focus();
    /** @type {HTMLInputElement} */ (found).select();
  } else found.click();
}

/** Show all keys of this page. */
function legend() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("legend") ?? made());
  const list = document.createElement("dl");
  list.className = "legend";
  const rows = new Map([["?", "show these keys"], ["Esc", "leave a field"]]);
  for (const control of controls()) {
    const key = shown(control.dataset.key ?? "");
    if (!rows.has(key)) rows.set(key, wordsOf(control));
  }
  for (const [key, words] of rows) {
    const name = document.createElement("dt");
    const meaning = document.createElement("dd");
    name.append(Object.assign(document.createElement("kbd"), { textContent: key }));
    meaning.textContent = words;
    list.append(name, meaning);
  }
  dialog.querySelector("dl")?.replaceWith(list);
  dialog.showModal();
}

function made() {
  const dialog = Object.assign(document.createElement("dialog"), { id: "legend" });
  dialog.setAttribute("aria-labelledby", "legend-title");
  const title = Object.assign(document.createElement("h2"), { id: "legend-title", textContent: "Keys" });
  const close = Object.assign(document.createElement("button"), { className: "primary", textContent: "Close" });
  close.addEventListener("click", () => dialog.close());
  dialog.append(title, document.createElement("dl"), close);
  document.body.append(dialog);
  return dialog;
}

/**
 * Tell something in the notice, where a screen reader reads it too.
 * @param {string} text
 */
export function tell(text) {
  document.getElementById("notice")?.replaceChildren(Object.assign(document.createElement("span"), { textContent: text }));
}

/**
 * Return what a problem of the server says.
 * @param {string} body
 */
export function detailOf(body) {
  try {
    const problem = JSON.parse(body);
    return problem.detail || problem.title || "The server refused that.";
  } catch {
    return "The server refused that.";
  }
}

/** @param {string} why */
function refused(why) {
  presses = 0;
  tell(why);
}

/** Move the focus to what a person decides about. */
function focus() {
  const found = /** @type {HTMLElement | null} */ (document.querySelector(FOCUS));
  if (found) found.focus({ preventScroll: true });
}

/** Undo once more, where that was asked for meanwhile. */
function undoNext() {
  if (!presses || document.querySelector(UNDER_WAY)) return;
  presses -= 1;
  controls().find((control) => control.closest(UNDO) && control.dataset.key)?.click();
}

/**
 * Let an undo lead back to what is shown now.
 * @param {any} event
 */
function nameThen(event) {
  if (!event.detail.elt.matches(UNDO)) return;
  const query = location.search.slice(1).split("&").filter((part) => part && !part.startsWith("edit="));
  const here = location.pathname + (query.length ? `?${query.join("&")}` : "");
  event.detail.parameters.then = document.body.dataset.then ?? here;
}

function countChosen() {
  const chosen = document.getElementById("chosen");
  if (!chosen) return;
  const count = document.querySelectorAll("#examples input:checked").length;
  chosen.textContent = count ? `${count} chosen` : "Choose examples to change them.";
}

/** Leave what the notice tells out of the console. @param {any} htmx */
function quiet(htmx) {
  const told = ["htmx:sendError", "htmx:responseError", "htmx:timeout", "htmx:afterRequest"];
  htmx.logger = (/** @type {Element} */ _, /** @type {string} */ name, /** @type {any} */ detail) => {
    if (told.includes(name)) delete detail.error; // else htmx writes it
  };
}

/** Show that there is none in the place of an image that is gone. @param {any} image */
function lost(image) {
  if (image instanceof HTMLImageElement && image.complete && !image.naturalWidth) image.classList.add("broken");
}

const keys = Object.assign(document.createElement("button"), { type: "button", className: "keys" });
keys.append("Keys ", Object.assign(document.createElement("kbd"), { textContent: "?" }));
keys.addEventListener("click", legend);
document.querySelector(".frame")?.append(keys);
document.addEventListener("keydown", pressed);
document.addEventListener("change", countChosen);
document.addEventListener("error", (event) => lost(event.target), true);
document.querySelectorAll("img").forEach(lost);
document.addEventListener("htmx:configRequest", nameThen);
document.addEventListener("htmx:afterSettle", () => {
  focus();
  countChosen();
  undoNext();
});
document.addEventListener("htmx:responseError", (event) => refused(detailOf(/** @type {any} */ (event).detail.xhr.responseText)));
for (const kind of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(kind, () => refused("The server does not answer. Nothing was changed; try again."));
}
if ("htmx" in window) quiet(window.htmx);
countChosen();
focus();
