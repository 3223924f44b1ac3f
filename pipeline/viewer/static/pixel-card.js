// The card of a clicked pixel: its class, the best classes as bars, its year, its images.

import { get } from "./api.js";
import { byId, drawn, element, swatch } from "./dom.js";
import { seriesCharts } from "./series-chart.js";

export class PixelCard {
  constructor(closed) {
    this.card = byId("pixel");
    this.closed = closed;
    this.readAtOnce = false; // once a year was asked for, the next pixels show theirs, too
    this.number = 0; // of the last click: what an earlier one still waits for is not shown
  }

  get isOpen() {
    return !this.card.hidden;
  }

  close() {
    this.number += 1;
    this.card.hidden = true;
    document.body.classList.remove("has-pixel");
    this.closed();
  }

  /** Show a pixel of a run: `look` gives its facts, `answerAt` the answer there, `actions` buttons. */
  async show(run, number, place, look, answerAt, actions) {
    const mine = (this.number += 1);
    const query = new URLSearchParams({ lon: place.lng, lat: place.lat });
    this.#fill(this.#head(null, "Looking …"));
    let pixel;
    let answer;
    try {
      [pixel, answer] = await Promise.all([look(query), answerAt(query)]);
    } catch (error) {
      if (mine === this.number) this.#fill(this.#head(null, "This pixel cannot be read"), note(error.message));
      return;
    }
    if (mine !== this.number) return;
    const where = note(`${place.lat.toFixed(5)}, ${place.lng.toFixed(5)}`);
    if (!pixel) {
      this.#fill(this.#head(null, "No class here"), where, note("No clear observation, or outside of the map."));
      return;
    }
    const year = element("div", { class: "year" });
    this.#fill(
      this.#head(pixel.colour, pixel.name, pixel.confidence),
      answer ? answered(answer) : null,
      answer && answer.kind === "classes" ? element("h3", {}, "On the map of the run") : null,
      bars(pixel.top),
      pixel.note ? note(pixel.note) : null,
      actions(pixel, answer),
      this.#observed(pixel),
      year,
      where,
    );
    if (!run.has.series) return;
    const read = () => this.#read(mine, run, number, query, year);
    if (run.archive_is_here || this.readAtOnce) await read();
    else {
      const button = element("button", { type: "button" }, "Read the year of this pixel");
      button.addEventListener("click", () => {
        this.readAtOnce = true;
        read();
      });
      year.replaceChildren(button, note("It is read from the archive again, which may take a minute."));
    }
  }

  async #read(mine, run, number, query, year) {
    year.replaceChildren(note("Reading the images of the year …"));
    try {
      const series = await get(`/api/runs/${number}/series?${query}`);
      if (mine === this.number) year.replaceChildren(...seriesCharts(series, run.first_month), items(series));
    } catch (error) {
      if (mine === this.number) year.replaceChildren(note(`The year cannot be read: ${error.message}`));
    }
  }

  #head(colour, name, confidence = null) {
    const close = element("button", { type: "button", class: "plain close", "aria-label": "Close", onclick: () => this.close() }, "×");
    const sure = confidence === null ? null : element("p", { class: "quiet" }, `${confidence} % confident`);
    return element("div", { class: "head" }, colour ? swatch(colour) : element("span"), element("div", {}, element("h2", {}, name), sure), close);
  }

  #observed(pixel) {
    const parts = [];
    if (pixel.clear) parts.push(`${pixel.clear.reduce((sum, count) => sum + count, 0)} clear observations`);
    if (pixel.clear_months !== null) parts.push(`seen in ${pixel.clear_months} of 12 months`);
    if (pixel.unlike_training !== null) parts.push(`unlike the training: ${pixel.unlike_training} %`);
    return parts.length ? note(parts.join(", ")) : null;
  }

  #fill(...children) {
    this.card.replaceChildren(...children.filter((child) => child !== null));
    this.card.hidden = false;
    document.body.classList.add("has-pixel");
  }
}

export const note = (text) => element("p", { class: "quiet" }, text);

function answered(answer) {
  if (answer.kind === "heat") {
    return element("p", {}, answer.similarity === null ? "No embedding here" : `Similarity ${answer.similarity.toFixed(2)}`);
  }
  return element("div", {}, element("h3", {}, "By your words"), bars(answer.top));
}

function bars(top) {
  return element("ul", { class: "bars" }, ...top.map((one) => element(
    "li", {},
    element("span", { class: "name" }, one.name),
    element("span", { class: "percent" }, `${one.percent} %`),
    drawn("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      drawn("rect", { width: one.percent, height: 6, fill: one.colour })),
  )));
}

function items(series) {
  const used = series.items.filter((item) => item.used).length;
  const list = element("ul", { class: "items" }, ...series.items.map((item) => element(
    "li", { class: item.used ? "used" : null },
    element("b", {}, item.date), item.used ? " clear, " : " not used, ", item.id,
  )));
  const summary = element("summary", {}, `${used} of ${series.items.length} images of the year show it clearly and were used`);
  return element("details", {}, summary, list);
}
