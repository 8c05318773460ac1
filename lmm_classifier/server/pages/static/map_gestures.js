// What a pointer does on the map: drag, wheel and pinch move the view, and a lasso chooses.

/** @typedef {import("./map_view.js").MapView} MapView */

const STILL = 5; // pixels that a pointer may move in a click
const CLOSE = 4; // pixels between two corners of a lasso

/**
 * @typedef {object} Told
 * @property {(corners: [number, number][], adds: boolean) => void} chosen a lasso was closed
 * @property {(clientX: number, clientY: number, isTouch: boolean) => void} clicked
 * @property {(clientX: number, clientY: number) => void} hovered
 * @property {() => void} left
 * @property {() => void} moved the view moved
 */

export class Gestures {
  /**
   * @param {MapView} view
   * @param {Told} told
   */
  constructor(view, told) {
    this.view = view;
    this.told = told;
    this.isLasso = false; // whether dragging chooses
    this.isDrawing = false;
    /** @type {Map<number, {x: number, y: number}>} */
    this.held = new Map();
    this.moved = 0;
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("pointerleave", () => told.left());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button !== 0) return;
    this.view.canvas.setPointerCapture(event.pointerId);
    this.held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.held.size > 1) {
      this.stop();
      return;
    }
    this.moved = 0;
    this.isDrawing = this.isLasso || event.shiftKey;
    if (this.isDrawing) this.view.lasso = [this.view.placeOf(event.clientX, event.clientY)];
  }

  /** @param {PointerEvent} event */
  move(event) {
    const former = this.held.get(event.pointerId);
    if (!former) {
      if (event.pointerType !== "touch") this.told.hovered(event.clientX, event.clientY);
      return;
    }
    const [across, down] = [event.clientX - former.x, event.clientY - former.y];
    if (this.isDrawing && Math.hypot(across, down) < CLOSE) return;
    const before = this.pinched();
    this.held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.moved += Math.hypot(across, down);
    if (this.isDrawing) {
      this.view.lasso.push(this.view.placeOf(event.clientX, event.clientY));
      this.view.draw();
    } else if (this.held.size === 1) {
      this.view.move(across, down);
      this.told.moved();
    } else {
      this.pinch(before);
    }
  }

  /** The middle of the fingers, and their distance. */
  pinched() {
    const [one, other] = [...this.held.values()];
    if (!other) return null;
    return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2, wide: Math.hypot(one.x - other.x, one.y - other.y) || 1 };
  }

  /** @param {{x: number, y: number, wide: number} | null} before */
  pinch(before) {
    const now = this.pinched();
    if (!before || !now) return;
    this.view.move(now.x - before.x, now.y - before.y);
    this.view.zoomAt(now.wide / before.wide, this.view.placeOf(now.x, now.y));
    this.told.moved();
  }

  /** @param {PointerEvent} event */
  up(event) {
    const wasAlone = this.held.size === 1;
    this.held.delete(event.pointerId);
    if (!wasAlone) {
      this.moved = Infinity; // the finger that stays is no click
      return;
    }
    const corners = this.view.lasso;
    const isClick = this.moved < STILL;
    const wasDrawing = this.isDrawing;
    this.stop();
    if (isClick) this.told.clicked(event.clientX, event.clientY, event.pointerType === "touch");
    else if (wasDrawing && corners.length > 2) this.told.chosen(corners, event.shiftKey && this.isLasso);
  }

  /** @param {PointerEvent} event */
  cancel(event) {
    this.held.delete(event.pointerId);
    this.stop();
  }

  stop() {
    this.isDrawing = false;
    this.view.lasso = [];
    this.view.draw();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? 30 * event.deltaY : event.deltaY; // lines, or pixels
    const factor = Math.exp(-Math.max(-300, Math.min(300, pixels)) * (event.ctrlKey ? 0.01 : 0.002));
    this.view.zoomAt(factor, this.view.placeOf(event.clientX, event.clientY));
    this.told.moved();
  }
}
