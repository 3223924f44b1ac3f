// PMTiles (version 3) of an exported site, read by ranges of bytes, and coloured here: a tile of
// classes holds the class in red and green, and the confidence in blue.

const HEADER = 127;
const LEAST_SEEN = 0.12; // opacity of a class whose confidence is 0 %, as in tile_pictures.py

export class Archive {
  constructor(address) {
    this.address = address;
    this.whole = null; // of a server that knows no ranges
    this.leaves = new Map();
    this.head = this.#open();
  }

  async #open() {
    const bytes = new DataView(await this.#range(0, HEADER));
    if (bytes.getUint32(0) !== 0x504d5469) throw new Error("This is no archive of tiles.");
    const number = (at) => Number(bytes.getBigUint64(at, true));
    const head = { root: number(8), rootLength: number(16), leaves: number(40), data: number(56) };
    head.entries = await this.#directory(head.root, head.rootLength);
    return head;
  }

  /** The bytes of a tile; null where there is none. */
  async tile(z, x, y) {
    const head = await this.head;
    const id = tileId(z, x, y);
    let entries = head.entries;
    for (let depth = 0; depth < 4; depth += 1) {
      const entry = entries.findLast((one) => one.id <= id);
      if (!entry) return null;
      if (entry.run > 0) {
        return id < entry.id + entry.run ? this.#range(head.data + entry.offset, entry.length) : null;
      }
      entries = await this.#leaf(head.leaves + entry.offset, entry.length);
    }
    return null;
  }

  #leaf(offset, length) {
    if (!this.leaves.has(offset)) this.leaves.set(offset, this.#directory(offset, length));
    return this.leaves.get(offset);
  }

  async #directory(offset, length) {
    const packed = new Blob([await this.#range(offset, length)]).stream();
    const bytes = new Uint8Array(await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
    let at = 0;
    const next = () => {
      let value = 0;
      for (let weight = 1; ; weight *= 128) {
        const byte = bytes[at++];
        value += (byte & 127) * weight;
        if (byte < 128) return value;
      }
    };
    const entries = Array.from({ length: next() }, () => ({}));
    let id = 0;
    for (const entry of entries) entry.id = id += next();
    for (const entry of entries) entry.run = next();
    for (const entry of entries) entry.length = next();
    entries.forEach((entry, place) => {
      const value = next();
      const before = entries[place - 1];
      entry.offset = value === 0 && before ? before.offset + before.length : value - 1;
    });
    return entries;
  }

  async #range(start, length) {
    if (this.whole) return (await this.whole).slice(start, start + length);
    const response = await fetch(this.address, { headers: { Range: `bytes=${start}-${start + length - 1}` } });
    if (!response.ok) throw new Error(`${this.address}: the server answered with ${response.status}.`);
    if (response.status === 206) return response.arrayBuffer();
    this.whole ??= response.arrayBuffer();
    return (await this.whole).slice(start, start + length);
  }
}

/** The number of a tile along the Hilbert curves of all zooms. */
export function tileId(z, x, y) {
  let id = (4 ** z - 1) / 3;
  for (let side = 2 ** (z - 1); side >= 1; side /= 2) {
    const right = (x & side) > 0 ? 1 : 0;
    const down = (y & side) > 0 ? 1 : 0;
    id += side * side * ((3 * right) ^ down);
    if (down === 0) {
      if (right === 1) [x, y] = [side - 1 - x, side - 1 - y];
      [x, y] = [y, x];
    }
  }
  return id;
}

/** The pixels of a picture's bytes, just as they are stored. */
async function pixelsOf(bytes) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), options);
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return { context, picture: context.getImageData(0, 0, bitmap.width, bitmap.height) };
}

/** Let MapLibre take tiles from archives: archive://NAME/{z}/{x}/{y}?only=…&fade=… */
export function addArchives(archives, legend) {
  const colours = new Map(legend.map((entry) => [entry.value, hex(entry.colour)]));
  maplibregl.addProtocol("archive", async ({ url }) => {
    const [, name, z, x, y, query] = url.match(/^archive:\/\/([^/]+)\/(\d+)\/(\d+)\/(\d+)\??(.*)$/);
    const bytes = await archives[name].tile(Number(z), Number(x), Number(y));
    if (!bytes) return { data: await createImageBitmap(new ImageData(1, 1)) };
    if (name !== "class.pmtiles") return { data: bytes };
    const options = new URLSearchParams(query);
    const only = new Set((options.get("only") ?? "").split(",").filter(Boolean).map(Number));
    return { data: await coloured(bytes, colours, only, options.get("fade") === "true") };
  });
}

async function coloured(bytes, colours, only, fade) {
  const { picture } = await pixelsOf(bytes);
  const data = picture.data;
  for (let at = 0; at < data.length; at += 4) {
    const value = data[at] + 256 * data[at + 1];
    const sure = data[at + 2];
    const colour = only.size && !only.has(value) ? undefined : colours.get(value);
    data.set(colour ?? [0, 0, 0], at);
    data[at + 3] = colour ? 255 * (fade ? LEAST_SEEN + (1 - LEAST_SEEN) * sure / 100 : 1) : 0;
  }
  return createImageBitmap(picture);
}

const hex = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** What an archive of classes says of a place, in the form of the server's pixels; or null. */
export async function pixelAt(archive, z, lon, lat, legend) {
  const side = 2 ** z;
  const x = ((lon + 180) / 360) * side;
  const y = ((1 - Math.asinh(Math.tan((lat * Math.PI) / 180)) / Math.PI) / 2) * side;
  const bytes = await archive.tile(z, Math.floor(x), Math.floor(y));
  if (!bytes) return null;
  const { picture } = await pixelsOf(bytes);
  const at = 4 * (Math.floor((y % 1) * picture.height) * picture.width + Math.floor((x % 1) * picture.width));
  const entry = legend.find((one) => one.value === picture.data[at] + 256 * picture.data[at + 1]);
  if (!entry) return null;
  const confidence = picture.data[at + 2];
  const top = [{ ...entry, percent: confidence }];
  return { ...entry, confidence, top, note: "", clear: null, clear_months: null, unlike_training: null };
}
