// A map of one run: basemap, true colour, classes and the answer to a question, from bottom to top.

const HIGHEST_READ = 16; // a pixel of 10 m is six of a tile's there; nearer tiles are enlarged

export class MapView {
  constructor(container, interactive = true) {
    this.map = new maplibregl.Map({
      container,
      interactive,
      style: { version: 8, sources: {}, layers: [] },
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      maxZoom: 19,
      hash: interactive,
      fadeDuration: 0,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.ready = new Promise((resolve) => this.map.once("load", resolve));
    this.shown = {};
  }

  /** Show layers: a name → {tiles, opacity, minzoom, maxzoom, visible, bounds}, bottom to top. */
  async show(layers) {
    await this.ready;
    for (const [name, layer] of layers) this.#put(name, layer);
  }

  #put(name, { tiles, opacity = 1, minzoom = 0, maxzoom = HIGHEST_READ, visible = true, bounds = null }) {
    const held = this.shown[name];
    if (held && (!tiles || held.minzoom !== minzoom || held.bounds !== String(bounds))) {
      this.map.removeLayer(name);
      this.map.removeSource(name);
      delete this.shown[name];
    }
    if (!tiles) return;
    if (!this.shown[name]) {
      const source = { type: "raster", tiles: [tiles], tileSize: 256, minzoom, maxzoom };
      if (bounds && bounds[2] <= 180 && bounds[0] >= -180) source.bounds = bounds;
      this.map.addSource(name, source);
      const paint = { "raster-resampling": "nearest", "raster-fade-duration": 120 };
      const above = ORDER.slice(ORDER.indexOf(name) + 1).find((other) => this.map.getLayer(other));
      this.map.addLayer({ id: name, type: "raster", source: name, paint }, above);
    } else if (held.tiles !== tiles) {
      this.map.getSource(name).setTiles([tiles]);
    }
    this.shown[name] = { tiles, minzoom, bounds: String(bounds) };
    this.map.setPaintProperty(name, "raster-opacity", opacity);
    this.map.setLayoutProperty(name, "visibility", visible ? "visible" : "none");
  }

  fit(bbox, padding) {
    this.map.fitBounds([[bbox[0], bbox[1]], [bbox[2], bbox[3]]], { padding, animate: false, maxZoom: 15 });
  }
}

const ORDER = ["basemap", "true-colour", "class", "answer"];

/** The address of a run's tiles, as MapLibre takes it. */
export function tilesOf(run, number, layer, options = {}) {
  const query = new URLSearchParams({ v: run.version, ...options });
  return `${location.origin}/api/runs/${number}/tiles/${layer}/{z}/{x}/{y}?${query}`;
}

export function answerTilesOf(number, key, only) {
  const query = only.length ? `?only=${only.join(",")}` : "";
  return `${location.origin}/api/runs/${number}/questions/${key}/{z}/{x}/{y}${query}`;
}
