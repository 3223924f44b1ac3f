// The page: it holds what is shown, and lets map, legend, card and questions follow it.

import { ask, get, save } from "./api.js";
import { Archive, addArchives, pixelAt } from "./archive.js";
import { Compare } from "./compare.js";
import { area, byId, element } from "./dom.js";
import { Legend, drawRamp } from "./legend.js";
import { MapView, answerTilesOf, tilesOf } from "./map-view.js";
import { PixelCard } from "./pixel-card.js";

const site = document.body.dataset.site; // of an exported site, which no server answers
const archives = {};
const state = { runs: [], basemap: null, run: 0, other: null, question: null, answer: null, markers: [], here: null };
const hasPlace = location.hash.length > 1; // of a page that is loaded again; MapLibre writes it
const view = new MapView("map");
const compare = new Compare(view);
const legend = new Legend(byId("legend"), () => draw());
const answerLegend = new Legend(byId("answer-legend"), () => draw());
const card = new PixelCard(() => mark(null));

const NARROW = 720; // pixels, as in view.css
const shownRun = () => state.runs[state.run];
const say = (text) => { byId("status").textContent = text; };

function layersOf(number, withAnswer) {
  const run = state.runs[number];
  const opacity = byId("opacity").value / 100;
  const options = { only: [...legend.only].join(","), fade: byId("fade").checked };
  const key = withAnswer && state.answer?.id;
  if (site) return layersOfSite(run, opacity, options);
  return [
    ["basemap", { tiles: state.basemap, visible: byId("basemap").checked }],
    ["true-colour", {
      tiles: run.has.true_colour && tilesOf(run, number, "true-colour"),
      visible: byId("true-colour").checked, bounds: run.bbox,
    }],
    ["class", { tiles: tilesOf(run, number, "class", options), opacity, visible: !key, bounds: run.bbox }],
    ["answer", {
      tiles: key && answerTilesOf(number, key, [...answerLegend.only]),
      opacity, minzoom: key ? state.answer.lowest_zoom : 0, bounds: run.bbox,
    }],
  ];
}

function layersOfSite(run, opacity, options) {
  const found = [["class", {
    tiles: `archive://class.pmtiles/{z}/{x}/{y}?${new URLSearchParams(options)}`,
    opacity, maxzoom: state.archives["class.pmtiles"], bounds: run.bbox,
  }]];
  if (run.has.true_colour) found.unshift(["true-colour", {
    tiles: "archive://true-colour.pmtiles/{z}/{x}/{y}",
    visible: byId("true-colour").checked, maxzoom: state.archives["true-colour.pmtiles"], bounds: run.bbox,
  }]);
  return found;
}

async function draw() {
  await view.show(layersOf(state.run, true));
  byId("legend-all").hidden = legend.only.size === 0;
  if (state.other === null) {
    compare.close();
    return;
  }
  const other = await compare.open(nameOf(state.run), nameOf(state.other));
  await other.show(layersOf(state.other, false));
}

const nameOf = (number) => `${state.runs[number].name}, ${state.runs[number].years}`;

function showRun() {
  const run = shownRun();
  document.title = `${run.name} · timesen`;
  byId("title").textContent = run.title;
  const cells = run.cells === 1 ? "1 cell" : `${run.cells.toLocaleString("en")} cells`;
  byId("subtitle").textContent = `${run.name} · ${run.years} · ${area(run.hectares)} · ${cells}`;
  byId("attribution").textContent = run.attribution; // as text: MapLibre's own would be HTML
  legend.show(run.legend);
  byId("ask").hidden = !run.has.embeddings;
  byId("fade").disabled = !run.has.confidence;
  byId("true-colour").disabled = !run.has.true_colour;
  byId("true-colour-note").textContent = run.has.true_colour
    ? "Pixels of 40 m: the median of the year."
    : "This run kept none.";
}

/** On a narrow screen the panel shows its head alone until it is opened. */
function openPanel(open) {
  byId("panel").classList.toggle("open", open);
  byId("panel-toggle").setAttribute("aria-expanded", String(open));
}

// ---- pixels
function mark(place) {
  state.here?.remove();
  state.here = place && new maplibregl.Marker({ element: element("div", { class: "here", role: "img", "aria-label": "The clicked pixel" }) }).setLngLat(place).addTo(view.map);
}

function inspect(place) {
  const wrapped = place.wrap();
  mark(wrapped);
  if (innerWidth <= NARROW) {
    openPanel(false);
    // The card takes the lower half: the place is moved above it.
    if (view.map.project(place).y > innerHeight * 0.4) view.map.easeTo({ center: place, offset: [0, -innerHeight * 0.2], duration: 200 });
  }
  const number = state.run;
  const key = state.answer?.id;
  const answerAt = (query) => (key ? get(`/api/runs/${number}/questions/${key}/pixel?${query}`) : null);
  const look = (query) => (site
    ? pixelAt(archives["class.pmtiles"], state.archives["class.pmtiles"], wrapped.lng, wrapped.lat, shownRun().legend)
    : get(`/api/runs/${number}/pixel?${query}`));
  return card.show(shownRun(), number, wrapped, look, answerAt, (pixel, answer) => actionsOf(wrapped, pixel, answer));
}

/** What can be done with a pixel of a run that may be asked. */
function actionsOf(place, pixel, answer) {
  if (!shownRun().has.embeddings) return null;
  const at = { lon: place.lng, lat: place.lat };
  const button = (text, onclick) => element("button", { type: "button", onclick }, text);
  const like = button("Find land like this", () => put({ words: "", like: [at.lon, at.lat], clicked: [] }));
  const row = (...buttons) => element("div", { class: "actions" }, element("h3", {}, "Is the map right here?"),
    element("div", { class: "row wrap" }, ...buttons), element("div", { class: "row wrap" }, like));
  const heat = state.answer?.kind === "heat";
  const top = answer?.kind === "classes" ? answer.top[0]?.name : pixel.name;
  const teach = (name, right) => teachIt({ ...at, name, right });
  if (heat) {
    return row(button("This is it", () => teach(null, true)), button("This is not", () => teach(null, false)));
  }
  const classes = state.answer ? state.answer.legend.map((entry) => entry.name) : shownRun().classes;
  if (!classes.includes(top)) return element("div", { class: "row wrap" }, like);
  const choice = element("select", { "aria-label": "The class that it is" }, element("option", { value: "" }, "It is …"),
    ...classes.map((name) => element("option", { value: name }, name)));
  choice.addEventListener("change", () => choice.value && teach(choice.value, true));
  return row(button("Right", () => teach(top, true)), button("Wrong", () => teach(top, false)), choice);
}

function teachIt(example) {
  const question = state.question ?? { words: "", like: null, clicked: [] };
  const others = question.clicked.filter((one) => one.lon !== example.lon || one.lat !== example.lat);
  return put({ ...question, clicked: [...others, example] });
}

// ---- questions

async function put(question) {
  say("Asking …");
  try {
    const answer = await ask(state.run, question);
    Object.assign(state, { question, answer });
    say("");
    showAnswer();
    await draw();
    if (card.isOpen && state.here) await inspect(state.here.getLngLat());
  } catch (error) {
    say(error.message);
  }
}

function showAnswer() {
  const { question, answer } = state;
  byId("answer").hidden = !answer;
  byId("legend-section").hidden = Boolean(answer);
  showExamples();
  if (!answer) return;
  const heat = answer.kind === "heat";
  const clicked = question.clicked.length;
  byId("answer-title").textContent = question.like ? "Land like the pixel" : question.words || "The map, by your examples";
  byId("heat").hidden = !heat;
  if (heat) drawRamp(byId("heat-ramp"), answer.colours);
  answerLegend.show(heat ? [] : answer.legend);
  const zoomed = answer.lowest_zoom > view.map.getZoom() ? "Zoom in to see it. " : "";
  byId("answer-hint").textContent = zoomed + (clicked
    ? `${clicked} ${clicked === 1 ? "example" : "examples"}: the map follows.`
    : heat ? "Click the map: say where this is it, and where not." : "Click the map: say where it is right or wrong.");
  byId("save-words").hidden = heat;
  byId("save-examples").hidden = heat || !question.clicked.some((one) => one.right);
  byId("clear-examples").hidden = clicked === 0;
}

function showExamples() {
  for (const marker of state.markers) marker.remove();
  state.markers = (state.question?.clicked ?? []).map((one) => {
    const kind = one.right ? "right" : "wrong";
    const dot = element("div", { class: `example ${kind}`, role: "img", "aria-label": `Example: ${kind}` });
    return new maplibregl.Marker({ element: dot }).setLngLat([one.lon, one.lat]).addTo(view.map);
  });
}

function forget() {
  Object.assign(state, { question: null, answer: null });
  byId("ask-words").value = "";
  showAnswer();
  say("");
  if (card.isOpen && state.here) inspect(state.here.getLngLat());
  return draw();
}

async function keep(kind, name) {
  try {
    await save(state.run, kind, state.question, name);
    const words = kind === "vocabulary" ? "--vocabulary words.toml" : "--vocabulary words.toml --examples examples.geojson --label class";
    say(`Saved as ${name}. timesen classify RUN ${words} --out FOLDER makes a run of it.`);
  } catch (error) {
    say(error.message);
  }
}

// ---- the page's controls

function listen() {
  for (const id of ["opacity", "fade", "true-colour", "basemap"]) byId(id).addEventListener("input", draw);
  byId("legend-all").addEventListener("click", () => legend.showAll());
  byId("answer-close").addEventListener("click", forget);
  byId("save-words").addEventListener("click", () => keep("vocabulary", "words.toml"));
  byId("save-examples").addEventListener("click", () => keep("examples", "examples.geojson"));
  byId("clear-examples").addEventListener("click", () => {
    const question = { ...state.question, clicked: [] };
    return question.words || question.like ? put(question) : forget();
  });
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = byId("ask-words").value.trim();
    return words ? put({ words, like: null, clicked: [] }) : forget();
  });
  byId("panel-toggle").addEventListener("click", () => {
    card.close();
    openPanel(!byId("panel").classList.contains("open"));
  });
  byId("run").addEventListener("change", (event) => {
    state.run = Number(event.target.value);
    if (state.other === state.run) byId("other").value = state.other = "";
    state.other = state.other === "" ? null : state.other;
    card.close();
    showRun();
    forget();
  });
  byId("other").addEventListener("change", ({ target }) => {
    state.other = target.value === "" ? null : Number(target.value);
    draw();
  });
  for (const begun of ["dataloading", "movestart"]) view.map.on(begun, () => byId("stage").setAttribute("aria-busy", "true"));
  view.map.on("idle", () => byId("stage").removeAttribute("aria-busy"));
  view.map.on("click", (event) => inspect(event.lngLat));
  view.map.getCanvas().addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") inspect(view.map.getCenter());
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && card.isOpen) card.close();
    if (event.key === "/" && !event.target.matches("input, select") && !byId("ask").hidden) {
      event.preventDefault();
      byId("ask-words").focus();
    }
  });
  view.map.on("zoomend", () => state.answer && showAnswerHint());
}

function showAnswerHint() {
  if (state.answer.lowest_zoom > 0) byId("answer-hint").textContent = state.answer.lowest_zoom > view.map.getZoom() ? "Zoom in to see it." : "";
}

function addControls() {
  const map = view.map;
  const canvas = map.getCanvas();
  canvas.setAttribute("aria-label", "Map: arrow keys move it, plus and minus zoom, Enter shows the pixel in the middle");
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "bottom-right");
  map.addControl(new maplibregl.ScaleControl(), "bottom-left");
}

function offer(select, numbers, first = null) {
  byId(select).replaceChildren(
    ...(first === null ? [] : [element("option", { value: "" }, first)]),
    ...numbers.map((number) => element("option", { value: number }, nameOf(number))),
  );
}

async function start() {
  const found = await get(site ?? "/api/runs");
  Object.assign(state, found);
  if (site) {
    for (const name of Object.keys(found.archives)) archives[name] = new Archive(name);
    addArchives(archives, found.runs[0].legend);
  }
  const numbers = state.runs.map((_, number) => number);
  byId("basemap-row").hidden = !state.basemap;
  if (numbers.length > 1) {
    offer("run", numbers);
    offer("other", numbers, "nothing");
    byId("run-row").hidden = byId("other-row").hidden = false;
  }
  addControls();
  showRun();
  listen();
  const wide = innerWidth > NARROW;
  if (!hasPlace) view.fit(shownRun().bbox, wide ? { left: 350, right: 30, top: 30, bottom: 30 } : { left: 16, right: 16, top: 130, bottom: 40 });
  await draw();
  document.body.dataset.ready = "true";
}

start().catch((error) => say(error.message));
