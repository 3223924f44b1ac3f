// Elements of the page. What others wrote (names of classes, ids of items) goes through `text` and
// `append`, which take texts as texts: nothing is ever read as HTML.

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; children that are texts become text. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A small square in a colour. */
export function swatch(colour) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.background = colour;
  return made;
}

export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1 %";
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

export function area(hectares) {
  return hectares < 10000 ? `${Math.round(hectares).toLocaleString("en")} ha` : `${Math.round(hectares / 100).toLocaleString("en")} km²`;
}
