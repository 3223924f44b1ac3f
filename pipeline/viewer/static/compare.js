// A second map over the first one, cut off left of a border that is moved by pointer or keyboard.

import { byId } from "./dom.js";
import { MapView } from "./map-view.js";

export class Compare {
  constructor(view) {
    this.view = view;
    this.other = null;
    this.share = 50;
    this.border = byId("swipe");
    this.#listen();
  }

  /** Begin to compare: the names are of the map to the left, and of the one to the right. */
  async open(left, right) {
    byId("swipe-left").textContent = left;
    byId("swipe-right").textContent = right;
    byId("other-map").hidden = false;
    this.border.hidden = false;
    if (!this.other) {
      this.other = new MapView("other-map", false);
      byId("other-map").style.pointerEvents = "none";
      this.view.map.on("move", () => this.#follow());
    }
    this.#follow();
    this.#place(this.share);
    return this.other;
  }

  close() {
    byId("other-map").hidden = true;
    this.border.hidden = true;
  }

  #follow() {
    if (byId("other-map").hidden) return;
    const map = this.view.map;
    this.other.map.jumpTo({ center: map.getCenter(), zoom: map.getZoom(), bearing: 0, pitch: 0 });
  }

  #place(share) {
    this.share = Math.min(98, Math.max(2, share));
    this.border.style.left = `${this.share}%`;
    this.border.setAttribute("aria-valuenow", String(Math.round(this.share)));
    byId("other-map").style.clipPath = `inset(0 0 0 ${this.share}%)`;
  }

  #listen() {
    const border = this.border;
    border.addEventListener("pointerdown", (event) => {
      border.setPointerCapture(event.pointerId);
      event.preventDefault();
      border.focus({ focusVisible: false });
    });
    border.addEventListener("pointermove", (event) => {
      if (border.hasPointerCapture(event.pointerId)) this.#place(event.clientX / innerWidth * 100);
    });
    border.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, Home: -100, End: 100 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.#place(this.share + steps[event.key]);
    });
  }
}
