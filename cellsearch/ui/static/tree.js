// Where a cell comes from and what came from it, as a tree: operators on the branches, reasons beside it.
import { h, s, num, href, ask } from "./base.js";
import { small } from "./table.js";
import { panel, soft, trialLink, failedWell } from "./views.js";

const WIDE = 118, HIGH = 46, GAP = 16, ROW = 86;

/** The generation of each trial: 0 for the one that was asked for, above it its ancestors. */
export function layers(family, center) {
  const known = new Map(family.map((one) => [one.number, one])), layer = new Map([[center, 0]]);
  const above = family.filter((one) => one.depth >= 0).sort((a, b) => b.number - a.number);
  for (const one of above) for (const parent of one.parents) {
    if (known.has(parent) && known.get(parent).depth > 0 && layer.has(one.number)) layer.set(parent, Math.max(layer.get(parent) ?? 0, layer.get(one.number) + 1));
  }
  const below = family.filter((one) => one.depth < 0).sort((a, b) => a.number - b.number);
  for (const one of below) {
    const from = one.parents.filter((parent) => layer.has(parent) && (known.get(parent).depth < 0 || parent === center)).map((parent) => layer.get(parent));
    layer.set(one.number, Math.min(0, ...from) - 1);
  }
  for (const one of family) if (!layer.has(one.number)) layer.set(one.number, one.depth);
  return layer;
}

/** Rows of numbers, oldest first, ordered so that branches cross little. */
function arranged(family, layer) {
  const rows = new Map();
  for (const one of family) {
    const k = layer.get(one.number);
    if (!rows.has(k)) rows.set(k, []);
    rows.get(k).push(one.number);
  }
  const keys = [...rows.keys()].sort((a, b) => b - a), parents = new Map(family.map((one) => [one.number, one.parents])), place = new Map();
  const children = new Map();
  for (const one of family) for (const parent of one.parents) children.set(parent, [...(children.get(parent) || []), one.number]);
  for (const key of keys) rows.get(key).sort((a, b) => a - b).forEach((n, k) => place.set(n, k));
  for (let turn = 0; turn < 6; turn++) {
    for (const key of turn % 2 ? [...keys].reverse() : keys) {
      const row = rows.get(key), near = turn % 2 ? children : parents;
      const middle = new Map(row.map((n) => { const found = (near.get(n) || []).filter((m) => place.has(m)); return [n, found.length ? found.reduce((sum, m) => sum + place.get(m) - rows.get(layer.get(m)).length / 2, 0) / found.length : place.get(n) - row.length / 2]; }));
      row.sort((a, b) => middle.get(a) - middle.get(b) || a - b).forEach((n, k) => place.set(n, k));
    }
  }
  return keys.map((key) => rows.get(key));
}

function draw(run, found) {
  const { family, trial } = found, layer = layers(family, trial), rows = arranged(family, layer), known = new Map(family.map((one) => [one.number, one]));
  const most = Math.max(...rows.map((row) => row.length)), width = Math.max(300, most * (WIDE + GAP) + GAP), height = rows.length * ROW + 12;
  const at = new Map();
  rows.forEach((row, r) => row.forEach((n, k) => at.set(n, [width / 2 + (k - (row.length - 1) / 2) * (WIDE + GAP), 10 + r * ROW + HIGH / 2])));
  const svg = s("svg", { class: "tree", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": `Family of trial ${trial}` });
  const line = new Set([trial]);
  for (const one of [...family].sort((a, b) => b.number - a.number)) if (line.has(one.number) && known.has(one.parents[0])) line.add(one.parents[0]);
  for (const one of family) {
    const [x, y] = at.get(one.number);
    one.parents.filter((parent) => at.has(parent)).forEach((parent, k) => {
      const [px, py] = at.get(parent), from = py + HIGH / 2, to = y - HIGH / 2, middle = (from + to) / 2;
      const main = line.has(one.number) && line.has(parent) && !k;
      svg.append(s("path", { class: `branch ${main ? "main" : ""}`, d: to > from ? `M${px} ${from}C${px} ${middle} ${x} ${middle} ${x} ${to}` : `M${px + WIDE / 2} ${py}Q${(px + x) / 2} ${py - 40} ${x - WIDE / 2} ${y}` }));
    });
  }
  for (const one of family) {
    const [x, y] = at.get(one.number), best = run.trials.best() === one.number;
    const css = one.failure ? "failed" : best ? "winner" : one.origin.startsWith("baseline") ? "baseline" : "";
    const node = s("a", { href: href("cell", { run: run.id, n: one.number }), class: `node ${css} ${one.number === trial ? "center" : ""}` });
    const title = s("title"), name = s("text", { x, y: y - 4 }), below = s("text", { x, y: y + 13, class: "score" }), by = s("text", { x, y: y - HIGH / 2 - 6, class: "by" });
    title.textContent = `${one.origin}${one.reason ? `\n${one.reason}` : ""}`;
    name.textContent = `${one.name}${one.reason ? " ✎" : ""}`;
    below.textContent = one.failure || (one.score === null ? one.status : num(one.score));
    by.textContent = one.origin.length > 20 ? `${one.origin.slice(0, 19)}…` : one.origin;
    node.append(s("rect", { x: x - WIDE / 2, y: y - HIGH / 2, width: WIDE, height: HIGH, rx: 8 }, title), name, below);
    svg.append(node);
    if (one.parents.some((parent) => at.has(parent))) svg.append(by);
  }
  return svg;
}

export async function lineage(context) {
  const { run, params } = context, number = /^\d+$/.test(params.n || "") ? params.n : "";
  const place = h("div", {}, soft("Reading …"));
  const input = h("input", { type: "text", inputmode: "numeric", placeholder: "trial", size: 8, "aria-label": "Number of a trial", value: number });
  const form = h("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); location.hash = href("lineage", { run: run.id, n: input.value.trim() }); } }, input, h("button", {}, "Show"), h("a", { class: "button", href: href("lineage", { run: run.id }) }, "Of the best"));
  context.root.append(h("h1", {}, "Lineage"), form, place);
  let shown = NaN;
  async function show() {
    let found;
    try { found = await ask("lineage", number ? { run: run.id, n: number } : { run: run.id }); } catch (error) { place.replaceChildren(failedWell(error)); return; }
    if (!context.live()) return;
    if (found.trial === null) { place.replaceChildren(soft("No cell has a score yet.")); return; }
    const changed = JSON.stringify(found);
    if (changed === shown) return;
    shown = changed;
    const scores = new Map(found.family.map((one) => [one.number, one.score])), direct = [...found.family].sort((a, b) => b.number - a.number);
    const gain = (one) => { const before = Math.min(...one.parents.map((parent) => scores.get(parent) ?? Infinity)); return Number.isFinite(before) && one.score !== null ? before - one.score : NaN; };
    const box = h("div", { class: "graph wide", tabindex: "0", role: "region", "aria-label": "Family tree" }, draw(run, found));
    place.replaceChildren(h("section", { class: "panel" }, h("h2", {}, `Family of trial ${found.trial}`), soft("Ancestors above, descendants below; the thick branch leads from first parent to first parent. ✎ marks a cell that was proposed with a reason.", found.more ? " There are more than are shown." : ""), box),
      panel("By which operator, and why", small([["cell"], ["score", true], ["better than its parents by", true], ["operator"], ["parents"], ["reason"]], direct.map((one) => [trialLink(run, one.number, one.name), one.failure || num(one.score), Number.isFinite(gain(one)) ? `${gain(one) > 0 ? "+" : ""}${num(gain(one))}` : "–", one.origin, one.parents.length ? h("span", {}, one.parents.flatMap((parent, k) => [k ? ", " : "", trialLink(run, parent, String(parent))])) : "none", h("span", { class: "why" }, one.reason)]), { label: "Operators and reasons", tall: true, classes: direct.map((one) => (one.number === found.trial ? "winner" : "")) })));
    const middle = box.querySelector(".center rect");
    if (middle) box.scrollTop = Number(middle.getAttribute("y")) - box.clientHeight / 2 + HIGH / 2;
    if (middle) box.scrollLeft = Number(middle.getAttribute("x")) - box.clientWidth / 2 + WIDE / 2;
  }
  await show();
  return number ? null : () => { if (run.trials.best() !== run.lineageOf) { run.lineageOf = run.trials.best(); show(); } };
}
