// On a server that follows another one: when it makes the edits itself, the page says so and offers its acts.

const EVERY = 5000; // milliseconds

const banner = /** @type {HTMLElement} */ (document.getElementById("reads"));
const timer = setInterval(look, EVERY);

/** Ask whether this server makes the edits now; one that does not answer is asked again. */
async function look() {
  if (document.hidden) return;
  const reply = await fetch("/v1/index", { signal: AbortSignal.timeout(EVERY) }).catch(() => null);
  const index = reply?.ok ? await reply.json().catch(() => null) : null;
  if (!index?.is_writer) return;
  clearInterval(timer);
  const again = Object.assign(document.createElement("button"), { type: "button", textContent: "Load the page again" });
  again.addEventListener("click", () => location.reload());
  banner.replaceChildren("This server makes the edits now. ", again);
}
