// Short notices of what was done, and what came of it.

const SHOWN = 8000; // milliseconds

export class Notices {
  /**
   * @param {HTMLElement} box has the role `status`
   * @param {() => void} undo
   */
  constructor(box, undo) {
    this.box = box;
    this.undo = undo;
    this.said = "";
    this.timer = 0;
  }

  /**
   * @param {string} text
   * @param {boolean} [canUndo]
   */
  say(text, canUndo = false) {
    this.said = text;
    this.draw(text, canUndo);
  }

  /** Add what came of the answer that the notice in sight tells. @param {string} text */
  add(text) {
    this.draw(`${this.said} ${text}`.trim(), true);
  }

  /**
   * @param {string} text
   * @param {boolean} canUndo
   */
  draw(text, canUndo) {
    const words = document.createElement("span");
    words.textContent = text;
    this.box.replaceChildren(words);
    if (canUndo) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Undo (Z)";
      button.addEventListener("click", this.undo);
      this.box.append(button);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.said = "";
      this.box.replaceChildren();
    }, SHOWN);
  }
}
