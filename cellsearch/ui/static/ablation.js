// What each part of a cell is worth: a table with intervals, and marks on the boxes of its graph.
import { h, s, ask, say } from "./base.js";
import { small } from "./table.js";
import { panel, soft, failedWell } from "./views.js";

const REMOVALS = 12;

/** A command to be typed elsewhere, and a button that copies it. */
export function toType(text) {
  const copy = async () => {
    try { await navigator.clipboard.writeText(text); say("The command is copied."); } catch { say(text); }
  };
  return h("span", { class: "to-type" }, h("code", { tabindex: "0" }, text), h("button", { type: "button", onclick: copy, "aria-label": `Copy: ${text}` }, "Copy"));
}

/** Where the interval of a cost lies; the line is 0. */
function interval(row, low, high) {
  const at = (value) => `${((Math.min(high, Math.max(low, value)) - low) / (high - low || 1)) * 100}%`;
  const place = h("div", { class: `cost ${row.said}`, "aria-hidden": "true" }), zero = h("b");
  zero.style.left = at(0);
  place.append(zero);
  if (row.said === "fails") { const all = h("span"); all.style.left = at(0); all.style.right = "0"; place.append(all); }
  if (!Number.isFinite(row.cost)) return place;
  if (Number.isFinite(row.low) && Number.isFinite(row.high)) { const line = h("span"); line.style.left = at(row.low); line.style.right = `calc(100% - ${at(row.high)})`; place.append(line); }
  const dot = h("i");
  dot.style.left = at(row.cost);
  place.append(dot);
  return place;
}

/** The ends of the axis: it holds every cost, and of the intervals as much as leaves the costs apart. */
function axis(rows) {
  const known = rows.filter((one) => Number.isFinite(one.cost)), costs = [0, ...known.map((one) => one.cost)];
  const least = Math.min(...costs), most = Math.max(...costs), ends = known.flatMap((one) => [one.low, one.high]).filter(Number.isFinite);
  return [Math.max(Math.min(least, ...ends), 2 * least - most), Math.min(Math.max(most, ...ends), 2 * most - least)];
}

function table({ whole, rows, headers }) {
  const [name, means, ...rest] = headers;
  const line = ([removed, meaning, ...texts], strip, also, left) => [
    h("span", { class: "removed" }, h("code", {}, removed), also.length ? h("span", { class: "soft" }, `the same as without ${also.slice(0, 3).join(", ")}${also.length > 3 ? ", …" : ""}`) : null), texts[2], strip, texts[3], texts[4], meaning, texts[0], texts[5],
    left ? h("details", {}, h("summary", {}, "show"), h("pre", { tabindex: "0" }, left)) : ""];
  const place = h("div");
  const draw = (most) => {
    const shown = rows.slice(0, most), [low, high] = axis(shown);
    place.replaceChildren(small([name, rest[2], [""], rest[3], rest[4], means, rest[0], rest[5], ["cell"]], [line(whole, "", [], ""), ...shown.map((one) => line(one.texts, interval(one, low, high), one.also, one.cell))], { label: "Removals", classes: ["strong", ...shown.map((one) => `cost-${one.said}`)] }));
    if (rows.length > most) place.append(h("button", { type: "button", onclick: () => draw(rows.length) }, `All ${rows.length} removals`));
  };
  draw(REMOVALS);
  return place;
}

/** What is said beside a box: what the removals cost that touch it. */
export function worth(found, k) {
  if (!found) return [];
  return found.vertices[k].slice(0, 6).map((at) => {
    const { texts } = found.rows[at];
    return ["without", `${texts[0]}: ${[texts[4], texts[6] || texts[5]].filter((one) => one && one !== "–").join(", ")}`];
  });
}

/** A small text at each box whose value was taken away: what that costs. */
function mark(groups, found) {
  groups.forEach((group, k) => {
    const [at] = found.vertices[k] || [], rect = group.querySelector("rect");
    if (at === undefined || !rect || !["gate", "value", "state"].includes(found.rows[at].kind)) return;
    const row = found.rows[at], x = Number(rect.getAttribute("x")) + Number(rect.getAttribute("width")), text = s("text", { x, y: Number(rect.getAttribute("y")) - 2, class: `worth ${row.said}` });
    text.textContent = row.said === "fails" ? "fails" : row.texts[4];
    group.append(text);
  });
}

/** The section of a cell's view; `seen` is told what was found. groups: the boxes of the graph. */
export function ablation(run, n, groups, seen) {
  const place = h("div", {}, soft("Reading …"));
  ask("ablation", { run: run.id, n }).then((found) => {
    if (found.error) { place.replaceChildren(failedWell(new Error(found.error)), h("p", { class: "soft" }, "This measures it again: ", toType(found.command))); return; }
    if (!found.rows.length) {
      place.replaceChildren(h("p", { class: "soft" }, "Not measured yet. Each part of the cell is taken out, and what is left trained from scratch, by ", toType(found.command)));
      return;
    }
    if (groups.length === found.vertices.length) { mark(groups, found); seen(found); }
    const [sentence, ...notes] = found.notes;
    place.replaceChildren(h("p", { class: "sentence" }, sentence), table(found), soft([found.protocol, ...notes].join(" ")));
  }, (error) => place.replaceChildren(failedWell(error)));
  return panel("What each part is worth", place);
}
