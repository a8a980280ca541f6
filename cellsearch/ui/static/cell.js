// One cell: equations, graph, what each box is, trainings, kin, and the difference to any other.
import { h, num, counted, span, href, note, ask, drawing, plural } from "./base.js";
import { Chart, ink } from "./chart.js";
import { small } from "./table.js";
import { panel, soft, trialLink, chip, tile, failedWell } from "./views.js";
import { ablation, toType, worth } from "./ablation.js";

const ZOO = ["lstm", "gru"];

export async function cell(context) {
  const { run, params } = context;
  const n = /^\d+$/.test(params.n || "") ? Number(params.n) : run.trials.best();
  if (n < 0) { context.root.append(h("h1", {}, "Cell"), soft("No cell has a score yet.")); return null; }
  context.root.append(h("h1", { class: "hidden" }, `Trial ${n}`), soft("Reading …"));
  let about;
  try { about = await ask("trial", { run: run.id, n }); } catch (error) { context.root.replaceChildren(h("h1", {}, `Trial ${n}`), failedWell(error)); return null; }
  if (!context.live()) return null;
  context.root.replaceChildren(...page(context, n, about));
  return null;
}

function neighbours(run, n) {
  const order = run.trials.order("score"), place = order.indexOf(n);
  const go = (at, text, title) => (at >= 0 && at < order.length && place >= 0 ? h("a", { class: "button", href: href("cell", { run: run.id, n: order[at] }), title }, text) : null);
  return h("span", { class: "steps" }, go(place - 1, "‹ better", "The next better trial"), go(place + 1, "worse ›", "The next worse trial"));
}

function page(context, n, about) {
  const { run } = context, { facts } = about;
  const best = run.trials.best(), base = run.trials.baselines()[0];
  const head = h("div", { class: "title" },
    h("div", { class: "row-head" }, h("h1", {}, about.baseline ? `${about.name} (baseline, trial ${n})` : `Trial ${n}`, n === best ? h("span", { class: "chip winner" }, "best") : null, chip(about.status, about.failure?.kind)), neighbours(run, n)),
    soft([about.origin || "no origin", " · from ", ...(about.parents.length ? about.parents.flatMap((one, k) => [k ? ", " : "", trialLink(run, one)]) : ["nothing"]), " · ", h("a", { href: href("lineage", { run: run.id, n }) }, "lineage"), " · ", h("a", { href: href("curves", { run: run.id, trials: [n, ...run.trials.baselines()].join() }) }, "curves"), about.seed !== null ? ` · seed ${about.seed}` : ""].flat()));
  if (about.reason) head.append(h("blockquote", {}, about.reason));
  if (about.duplicate_of !== null) head.append(soft("It computes the same as ", trialLink(run, about.duplicate_of), ", whose results it shows."));
  if (about.failure) head.append(h("pre", { class: "failure", tabindex: "0" }, `${about.failure.kind}: ${about.failure.message}`));
  const score = about.score, beside = base !== undefined && score !== null && !about.baseline ? (score / run.trials.score(base) - 1) * 100 : NaN;
  const tiles = h("div", { class: "tiles" }, tile(num(score), `score${about.trainings > 1 ? `, mean of ${about.trainings} trainings` : ""}`, n === best ? "good" : ""), about.metric !== null && about.metric !== score ? tile(num(about.metric), run.about.metric) : null,
    Number.isFinite(beside) ? tile(`${beside > 0 ? "+" : "−"}${Math.abs(beside).toFixed(2)} %`, `score, against ${run.trials.name(base)}`) : null,
    tile(counted(facts.cell_weights), about.sizes_known ? `cell weights, H = ${facts.hidden_size}` : "cell weights at I = H = 64"), tile(counted(facts.multiply_adds), "multiply-adds a step"), tile(counted(facts.nodes), `nodes, ${plural(facts.matrices, "matrix", "matrices")}`), tile(facts.class, `recurrence, GEMM depth ${facts.gemm_depth}`));
  const picture = graph(about);
  return [head, tiles, h("div", { class: "two cells" }, h("div", {}, panel("Equations", h("pre", { tabindex: "0" }, about.cell), kin(run, n)), trainings(run, n, about)), picture.section), ablation(run, n, picture.groups, picture.weigh), difference(context, n, about), h("div", { class: "two" }, family(run, about), metrics(about))];
}

/** Which published cells it is, or is nearest to; asked for afterwards, as it takes a moment. */
function kin(run, n) {
  const place = h("div", { class: "kin soft" }, "Comparing with published cells …");
  ask("relatives", { run: run.id, n }).then((found) => {
    place.replaceChildren(...[
      found.equals.length ? h("p", {}, h("b", {}, "Equals "), found.equals.join(", ")) : found.nearest.length ? h("p", {}, h("b", {}, "Nearest "), found.nearest.map((one) => `${one.name} (${plural(one.edits, "edit")})`).join(", ")) : null,
      ...found.findings.map((one) => h("p", { class: "finding" }, one.text))].filter(Boolean));
  }, (error) => place.replaceChildren(error.message));
  return place;
}

function shape(letters) { return letters.length ? `[${letters.join(", ")}]` : "a number"; }

/** What is said of a box of the drawing. */
function vertexText(one, all, costs) {
  const names = (list) => [...new Set(list)].map((k) => all[k].label).join(", ");
  const percent = (share) => `${(share * 100).toFixed(0)} %`;
  const pairs = [["shape", shape(one.shape)], one.reads.length ? ["reads", names(one.reads)] : null, one.uses.length ? ["used by", names(one.uses)] : null,
    ...one.weights.map((w) => ["weight", `${w.name} ${shape(w.shape)}${w.count !== null ? `, ${plural(w.count, "number")}` : ""}${w.connection ? `; learned: gate ${num(w.connection.gate, 3)}, saliency ${num(w.connection.saliency, 4)}` : ""}`]),
    one.gate ? ["gate", `open ${percent(one.gate.open)}, closed ${percent(one.gate.closed)}, mean ${num(one.gate.mean, 2)}`] : null, ...costs].filter(Boolean);
  return [h("b", {}, one.label), " ", h("code", {}, one.text), h("dl", {}, pairs.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]))];
}

function graph(about) {
  const svg = drawing(about.svg), note_ = h("div", { class: "reading", "aria-live": "polite" }, soft("Point at a box, or reach it with the tab key, to see where it is used, its shape and its weights."));
  const groups = [...svg.querySelectorAll("g.v")], all = about.vertices;
  let found = null;
  const light = (k) => {
    groups.forEach((one, j) => { one.classList.toggle("dim", k >= 0 && j !== k && !all[k].uses.includes(j) && !all[k].reads.includes(j)); one.classList.toggle("lit", j === k); });
    if (k >= 0) note_.replaceChildren(...vertexText(all[k], all, worth(found, k)));
  };
  if (groups.length === all.length) {
    svg.setAttribute("role", "group");
    groups.forEach((one, k) => {
      one.setAttribute("tabindex", "0");
      one.setAttribute("role", "img");
      one.setAttribute("aria-label", `${all[k].label}: ${all[k].text}`);
      one.addEventListener("pointerenter", () => light(k));
      one.addEventListener("focus", () => light(k));
      one.addEventListener("pointerleave", () => light(-1));
      one.addEventListener("blur", () => light(-1));
    });
  }
  const gates = about.gates_error ? soft(about.gates_error) : about.measure_gates ? h("p", { class: "soft" }, "How often its gates are open is not measured yet; this measures it: ", toType(about.measure_gates)) : null;
  return { section: panel("Graph", h("div", { class: "graph" }, svg), note_, gates), groups, weigh: (costs) => { found = costs; } };
}

function difference(context, n, about) {
  const { run, params } = context, place = h("div");
  const choices = [...(about.parents.length ? ["parent"] : []), ...about.parents.slice(1).map(String), ...ZOO];
  const other = h("input", { type: "text", "aria-label": "Another cell: a number of a trial, or a name of the zoo", placeholder: "trial or zoo name", size: 16, value: "" });
  const ask_ = async (to) => {
    note({ to });
    for (const one of buttons.children) one.setAttribute("aria-pressed", String(one.dataset.to === to));
    place.replaceChildren(soft("Comparing …"));
    try {
      const found = await ask("difference", { run: run.id, n, to });
      place.replaceChildren(h("p", {}, h("b", {}, plural(found.distance, "edit")), ` from ${found.from}, both simplified. `, h("span", { class: "keys" }, h("i", { class: "added" }), "added ", h("i", { class: "removed" }), "removed ", h("i", { class: "changed" }), "changed")),
        h("div", { class: "two" }, h("div", { class: "graph" }, drawing(found.svg)), h("ol", { class: "edits" }, found.edits.slice(0, 200).map((one) => h("li", { class: one.split(" ")[0] }, one)))));
    } catch (error) { place.replaceChildren(soft(error.message)); }
  };
  const buttons = h("div", { class: "choice", role: "group", "aria-label": "Compare with" }, choices.map((to) => h("button", { type: "button", "data-to": to, "aria-pressed": "false", onclick: () => ask_(to) }, /^\d+$/.test(to) ? `trial ${to}` : to === "parent" ? "parent" : to.toUpperCase())));
  const form = h("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); if (other.value.trim()) ask_(other.value.trim().toLowerCase().replace(/^trial /, "")); } }, buttons, other, h("button", {}, "Compare"));
  if (params.to) queueMicrotask(() => ask_(params.to));
  else if (choices[0]) place.append(soft("Choose a cell to see what leads from it to this one."));
  return panel("Difference", form, place);
}

function trainings(run, n, about) {
  const done = about.rungs.filter((one) => one.score !== undefined), chart = new Chart({ height: 220, label: `Learning curve of trial ${n}` });
  chart.set({
    said: `Learning curve of trial ${n}`, x: { label: "optimizer step", low: 0 }, y: { label: "validation score" },
    series: done.filter((one) => one.curve.length).map((one, k) => ({ x: one.curve.map(([step]) => step), y: one.curve.map(([, score]) => score ?? NaN), kind: "line", ink: k ? ink(k) : "accent", name: done.length > 1 ? `training ${k + 1}` : "", text: (j) => [`step ${counted(one.curve[j][0])}`, `score ${num(one.curve[j][1])}`] })),
  });
  return panel("Trainings", done.some((one) => one.curve.length) ? chart.root : null,
    about.rungs.length ? small([["rung", true], ["granted", true], ["steps", true], ["score", true], [run.about.metric, true], ["time", true]], about.rungs.map((one) => [String(one.rung), counted(one.granted), counted(one.steps), num(one.score), num(one.metric), span(one.seconds)]), { label: "Trainings" }) : soft("It was not trained."));
}

function family(run, about) {
  const list = (numbers, more) => h("p", { class: "links" }, ...numbers.slice(0, 60).flatMap((one) => [trialLink(run, one), h("span", { class: "soft" }, run.trials.has(one) && Number.isFinite(run.trials.score(one)) ? ` ${num(run.trials.score(one))}  ` : "  ")]), more > 60 ? h("span", { class: "soft" }, `and ${counted(more - 60)} more`) : null);
  return panel("Kin", h("h3", {}, "Parents"), about.parents.length ? list(about.parents, 0) : soft("None: a beginning."), h("h3", {}, `Children (${counted(about.children_count)})`), about.children.length ? list(about.children, about.children_count) : soft("None."), about.twins.length ? h("h3", {}, "Duplicates that it answers") : null, about.twins.length ? list(about.twins, about.twins.length) : null);
}

function metrics(about) {
  const last = about.rungs.filter((one) => one.metrics && Object.keys(one.metrics).length).pop();
  if (!last) return panel("Further numbers", soft("None were measured."));
  return panel("Further numbers", h("dl", { class: "numbers" }, Object.entries(last.metrics).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, num(value, 4))])));
}
