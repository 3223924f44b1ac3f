// A legend whose classes are buttons: one shows its class alone, with Shift or Ctrl beside others.

import { element, percent, swatch } from "./dom.js";

export class Legend {
  constructor(list, changed) {
    this.list = list;
    this.changed = changed;
    this.only = new Set();
  }

  show(entries) {
    this.only.clear();
    this.list.replaceChildren(...entries.map((entry) => element("li", {}, this.#button(entry))));
    this.#mark();
  }

  showAll() {
    this.only.clear();
    this.#mark();
    this.changed();
  }

  #button(entry) {
    const button = element(
      "button",
      { type: "button", "data-value": entry.value, "aria-pressed": "false" },
      swatch(entry.colour),
      element("span", { class: "name" }, entry.name),
      element("span", { class: "share" }, entry.share === undefined ? "" : percent(entry.share)),
    );
    button.addEventListener("click", (event) => this.#choose(entry.value, event));
    return button;
  }

  #choose(value, event) {
    const more = event.shiftKey || event.ctrlKey || event.metaKey;
    const had = this.only.has(value);
    if (!more) this.only.clear();
    if (had) this.only.delete(value);
    else this.only.add(value);
    this.#mark();
    this.changed();
  }

  #mark() {
    this.list.classList.toggle("some", this.only.size > 0);
    for (const button of this.list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(this.only.has(Number(button.dataset.value))));
    }
  }
}

/** Draw the colours of a heat map from left to right. */
export function drawRamp(canvas, colours) {
  const context = canvas.getContext("2d");
  const ramp = context.createLinearGradient(0, 0, 256, 0);
  colours.forEach((colour, place) => ramp.addColorStop(place / (colours.length - 1), colour));
  context.fillStyle = ramp;
  context.fillRect(0, 0, 256, 10);
}
