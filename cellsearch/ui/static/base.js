// What every module uses: elements made of text only, numbers for people, links, colours.

/** An element. Strings become text, never markup. */
export function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name in made && name !== "list" && name !== "role") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(3).filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

/** An SVG element with attributes. */
export function s(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const sheets = window.trustedTypes
  ? window.trustedTypes.createPolicy("drawing", { createHTML: (text) => text })
  : { createHTML: (text) => text };

/** A drawing of the server's as an element: without scripts, styles, links and handlers. */
export function drawing(text) {
  const root = new DOMParser().parseFromString(sheets.createHTML(text.replace(/<style[\s\S]*?<\/style>/g, "")), "image/svg+xml").documentElement;
  if (root.localName !== "svg") return h("p", { class: "soft" }, "The drawing cannot be shown.");
  for (const one of [root, ...root.querySelectorAll("*")]) {
    const allowed = ["svg", "g", "path", "rect", "text", "tspan", "title", "circle", "line"];
    if (!allowed.includes(one.localName)) { one.remove(); continue; }
    for (const { name } of [...one.attributes]) {
      if (name.startsWith("on") || name === "style" || name.endsWith("href")) one.removeAttribute(name);
    }
  }
  return document.adoptNode(root);
}

export const counted = (n) => (Number.isFinite(n) ? n.toLocaleString("en-US") : "–");
export const plural = (n, one, many = `${one}s`) => `${counted(n)} ${n === 1 ? one : many}`;

/** A number for people; a dash for none. */
export function num(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return value.toFixed(digits);
}

export function compact(value) {
  if (!Number.isFinite(value) || value < 0) return "–";
  if (value >= 1e9) return `${(value / 1e9).toPrecision(3)}G`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)}M`;
  if (value >= 1e4) return `${(value / 1e3).toPrecision(3)}k`;
  return counted(Math.round(value));
}

export function span(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${days} d ${hours % 24} h`;
}

export const clock = (time) =>
  Number.isFinite(time) && time > 0
    ? new Date(time * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" })
    : "–";

/** Where a view is: `#VIEW?run=...`; what is empty is left out. */
export function href(view, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return `#${view}${text ? `?${text}` : ""}`;
}

export function here() {
  const [view, query] = location.hash.slice(1).split("?");
  return { view: decodeURIComponent(view || ""), params: Object.fromEntries(new URLSearchParams(query || "")) };
}

/** Change parameters of this view without a step in the history of the browser. */
export function note(changes) {
  const { view, params } = here();
  history.replaceState(null, "", href(view, { ...params, ...changes }));
}

/** Ask the server; errors are its words. */
export async function ask(name, params = {}) {
  const answer = await fetch(`/api/${name}?${new URLSearchParams(params)}`);
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.error || `the server answered ${answer.status}`);
  return document;
}

let said = 0;
export function say(text) {
  const place = document.getElementById("say");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(said);
  said = setTimeout(() => place.classList.remove("shown"), 2200);
}

const colours = new Map();
/** The colour of a variable of the style sheet, as the theme has it now. */
export function colour(name) {
  if (!colours.has(name)) {
    const probe = document.body.appendChild(h("i"));
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}
export const forgetColours = () => colours.clear();

const THEMES = ["auto", "light", "dark"];
export function theme(step = 0) {
  let found = "auto";
  try { found = localStorage.getItem("cellsearch-theme") || "auto"; } catch { found = "auto"; }
  const now = THEMES[(THEMES.indexOf(found) + step + 3) % 3];
  try { localStorage.setItem("cellsearch-theme", now); } catch { /* private mode: for this page only */ }
  document.documentElement.dataset.theme = now;
  document.getElementById("theme").textContent = now[0].toUpperCase() + now.slice(1);
  forgetColours();
  window.dispatchEvent(new Event("themed"));
}

/** Call a function once a frame at most, and not while the page is hidden. */
export function calm(act, wait = 0) {
  let due = false, last = 0;
  return () => {
    if (due) return;
    due = true;
    const run = () => requestAnimationFrame(() => { due = false; last = performance.now(); act(); });
    setTimeout(run, Math.max(0, wait - (performance.now() - last)));
  };
}
