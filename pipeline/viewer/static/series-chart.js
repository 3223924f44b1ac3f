// The year of a pixel as two small charts: NDVI, and the reflectance of each band.

import { drawn, element } from "./dom.js";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const COLOURS = {
  B02: "#2f6fd0", B03: "#2e8b57", B04: "#d0453b", B05: "#d9822b", B06: "#b8651b", B07: "#8f4e14",
  B08: "#7a3fa0", B8A: "#a765c7", B11: "#2a97a5", B12: "#7d8f96",
};
const WIDTH = 300, HEIGHT = 92, LEFT = 26, RIGHT = 4, TOP = 6, BOTTOM = 24;

/** The charts of a series, which is January first; a year may begin with another month. */
export function seriesCharts(series, firstMonth) {
  const order = MONTHS.map((_, place) => (firstMonth - 1 + place) % 12);
  const made = [];
  if (series.ndvi) {
    const values = order.map((month) => series.ndvi[month]);
    made.push(element("h3", {}, "NDVI"), chart([["NDVI", values, "#2e8b57"]], 0, 1, order, series.clear));
  }
  const bands = Object.entries(series.bands).map(([name, values]) => [
    name, order.map((month) => values[month]), COLOURS[name] ?? "#777777",
  ]);
  const highest = Math.max(0.1, ...bands.flatMap(([, values]) => values.map((value) => value ?? 0)));
  made.push(
    element("h3", {}, "Reflectance"),
    chart(bands, 0, Math.ceil(highest * 10) / 10, order, null),
    element("ul", { class: "keys" }, ...bands.map(([name, , colour]) => element("li", {}, key(colour), name))),
  );
  return made;
}

function key(colour) {
  return drawn("svg", { "aria-hidden": "true" }, drawn("rect", { width: 12, height: 3, fill: colour }));
}

function chart(lines, low, high, order, clear) {
  const x = (place) => LEFT + (place + 0.5) * (WIDTH - LEFT - RIGHT) / 12;
  const y = (value) => TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM);
  const svg = drawn("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  svg.setAttribute("aria-label", described(lines, order));
  for (const value of [low, (low + high) / 2, high]) {
    const text = drawn("text", { x: LEFT - 5, y: y(value) + 3, "text-anchor": "end" }, value.toFixed(high > 0.5 ? 1 : 2));
    svg.append(drawn("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }), text);
  }
  if (clear) svg.append(drawn("text", { x: LEFT - 5, y: HEIGHT, "text-anchor": "end" }, "clear"));
  order.forEach((month, place) => {
    svg.append(drawn("text", { x: x(place), y: HEIGHT - 12, "text-anchor": "middle" }, MONTHS[month][0]));
    if (clear) {
      const text = drawn("text", { x: x(place), y: HEIGHT, "text-anchor": "middle", class: "count" }, String(clear[month]));
      text.append(drawn("title", {}, `${clear[month]} clear observations in ${MONTHS[month]}`));
      svg.append(text);
    }
  });
  for (const [name, values, colour] of lines) {
    for (const run of runsOf(values)) {
      const points = run.map((place) => `${x(place).toFixed(1)},${y(values[place]).toFixed(1)}`).join(" ");
      svg.append(drawn("polyline", { class: "line", points, stroke: colour }));
    }
    values.forEach((value, place) => {
      if (value === null) return;
      const dot = drawn("circle", { cx: x(place), cy: y(value), r: lines.length > 1 ? 1.6 : 2.6, fill: colour });
      dot.append(drawn("title", {}, `${name}, ${MONTHS[order[place]]}: ${value.toFixed(3)}`));
      svg.append(dot);
    });
  }
  return svg;
}

/** The stretches of places with a value; a month without one interrupts the line. */
function runsOf(values) {
  const runs = [[]];
  values.forEach((value, place) => {
    if (value === null) runs.push([]);
    else runs.at(-1).push(place);
  });
  return runs.filter((run) => run.length > 1);
}

function described(lines, order) {
  if (lines.length > 1) return `Reflectance by month of ${lines.map(([name]) => name).join(", ")}`;
  const parts = lines[0][1].map((value, place) => `${MONTHS[order[place]]} ${value === null ? "none" : value.toFixed(2)}`);
  return `${lines[0][0]} by month: ${parts.join(", ")}`;
}
