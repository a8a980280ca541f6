// Learning curves of any trials; score against weights, multiply-adds or time with the Pareto front.
import { h, num, counted, span, href, note, plural, ask, calm } from "./base.js";
import { Chart, ink } from "./chart.js";
import { panel, soft, trialLink, choice, numbersOf } from "./views.js";

const MOST = 60;

export function curves(context) {
  const { run, params } = context;
  let picked = numbersOf(params.trials), log = params.log === "1", offered = !picked.length;
  const found = new Map(), chart = new Chart({ height: 420, label: "Learning curves" }), list = h("div", { class: "chips" });
  const add = h("input", { type: "text", inputmode: "numeric", placeholder: "Add trials: 3, 17", "aria-label": "Add trials by number", size: 18 });
  const keep = () => note({ trials: offered ? "" : picked.join(), log: log ? "1" : "" });
  const form = h("form", { class: "bar", onsubmit: (event) => {
    event.preventDefault();
    offered = false;
    picked = [...new Set([...picked, ...numbersOf(add.value.replaceAll(" ", "")).filter((n) => run.trials.has(n))])].slice(0, MOST);
    add.value = "";
    keep(); show();
  } }, add, h("button", {}, "Add"),
  ...[["Best 8", () => leaders(run, 8)], ["Best 30", () => leaders(run, 30)], ["Last 12", () => last(run, 12)]].map(([text, make]) => h("button", { type: "button", onclick: () => { offered = false; picked = make(); keep(); show(); } }, text)),
  choice("Scale", [["", "linear"], ["1", "logarithmic"]], log ? "1" : "", (value) => { log = value === "1"; keep(); show(); }));
  context.root.append(h("h1", {}, "Learning curves"), form, h("section", { class: "panel" }, chart.root, list), soft("Validation score while each cell is trained. Drag over a part to enlarge it, double-click to go back."));
  async function show() {
    const { trials } = run;
    if (offered) picked = [...new Set([...leaders(run, 8), ...trials.baselines().slice(0, 3)])];
    const missing = picked.filter((n) => !found.has(n) || (trials.has(n) && !trials.ended(n)) || found.get(n).stamp !== trials.columns.ended[n]);
    if (missing.length) {
      try {
        const answer = await ask("curves", { run: run.id, trials: missing.join() });
        for (const n of missing) found.set(n, { stamp: trials.columns.ended[n], curves: answer.curves[n] || [] });
      } catch (error) { list.replaceChildren(soft(error.message)); return; }
    }
    const series = picked.flatMap((n, k) => (found.get(n)?.curves || []).filter((one) => one.length).map((points, rung) => ({
      x: points.map(([step]) => step), y: points.map(([, score]) => score ?? NaN), kind: "line", width: trials.isBaseline(n) ? 1.5 : 2,
      ink: trials.isBaseline(n) ? "base" : ink(k), dash: trials.isBaseline(n) ? [6, 4] : rung ? [2, 3] : undefined, name: rung ? "" : trials.name(n), end: !rung && picked.length < 13 ? trials.name(n) : "",
      text: (j) => [trials.name(n), `step ${counted(points[j][0])}: ${num(points[j][1])}`], open: () => { location.hash = href("cell", { run: run.id, n }); },
    })));
    const ends = series.flatMap((one) => one.y.filter(Number.isFinite)).sort((a, b) => a - b), firsts = series.map((one) => one.y[0]).filter(Number.isFinite);
    const high = ends.length > 20 && !log ? Math.max(ends[Math.floor(ends.length * 0.9)], Math.min(...firsts)) : undefined;
    chart.set({ said: `Learning curves of ${plural(picked.length, "trial")}`, x: { label: "optimizer step", low: 0 }, y: { label: "validation score", log, high }, series, keys: false });
    list.replaceChildren(...(picked.length ? picked.map((n, k) => h("span", { class: `pick ink-${trials.isBaseline(n) ? "base" : ink(k)}` }, h("i"), trialLink(run, n), h("button", { type: "button", "aria-label": `Remove trial ${n}`, onclick: () => { offered = false; picked = picked.filter((one) => one !== n); keep(); show(); } }, "×"))) : [soft("No trial is chosen.")]));
  }
  show();
  return () => { if (offered || picked.some((n) => run.trials.has(n) && !run.trials.ended(n))) show(); };
}

const leaders = (run, most) => [...run.trials.ranked().slice(0, most)];

function last(run, most) {
  const order = run.trials.order("ended"), found = [];
  for (let k = order.length - 1; k >= 0 && found.length < most; k--) if (Number.isFinite(run.trials.columns.ended[order[k]]) && run.trials.ranks(order[k])) found.push(order[k]);
  return found;
}

const AXES = [["weights", "cell weights"], ["parameters", "model weights"], ["macs", "multiply-adds"], ["seconds", "training time"], ["predicted", "predicted time"], ["number", "trial"]];
const LABELS = { weights: "weights of the cell", parameters: "weights of the model", macs: "multiply-adds a step", seconds: "seconds of training", predicted: "predicted microseconds a step", number: "trial" };

/** The trials that no other is better than in both: numbers, by x. */
export function front(trials, axis) {
  const order = trials.order(axis), found = [];
  let best = Infinity, group = [], at = NaN;
  const close = () => {
    const first = group.reduce((a, b) => (trials.score(a) <= trials.score(b) ? a : b), group[0]);
    if (first !== undefined && trials.score(first) < best) { best = trials.score(first); found.push(first); }
    group = [];
  };
  for (const n of order) {
    const x = trials.value(axis, n);
    if (!trials.ranks(n) || !Number.isFinite(x)) continue;
    if (x !== at) { close(); at = x; }
    group.push(n);
  }
  close();
  return found;
}

export function tradeoffs(context) {
  const { run, params } = context;
  let axis = AXES.some(([name]) => name === params.x) ? params.x : "weights", all = params.all === "1", log = params.log === "1";
  const chart = new Chart({ height: 460, label: "Score against size" }), said = h("p", { class: "soft" }), table = h("div");
  const keep = () => note({ x: axis === "weights" ? "" : axis, all: all ? "1" : "", log: log ? "1" : "" });
  context.root.append(h("h1", {}, "Score against cost"), h("div", { class: "bar" },
    choice("Against", AXES, axis, (value) => { axis = value; chart.zoom = null; keep(); show(); }),
    choice("Scale", [["", "linear"], ["1", "logarithmic"]], log ? "1" : "", (value) => { log = value === "1"; chart.zoom = null; keep(); show(); }),
    choice("Scores", [["", "without outliers"], ["1", "all"]], all ? "1" : "", (value) => { all = value === "1"; chart.zoom = null; keep(); show(); })), h("section", { class: "panel" }, chart.root, said), table);
  async function show() {
    const { trials } = run;
    if (axis === "macs" && run.trials.whole && trials.textCount < trials.count && !run.texting) run.readTexts(trials.ranked(), calm(show, 1500)).then(show, (error) => { said.textContent = error.message; });
    const x = [], y = [], who = [], controls = trials.baselines();
    const ranked = trials.ranked(), low = trials.score(ranked[0]), middle = trials.score(ranked[ranked.length >> 1]);
    const limit = all || ranked.length < 8 ? Infinity : middle + 4 * Math.max(middle - low, 1e-9);
    let out = 0, none = 0;
    for (const n of ranked) {
      if (trials.isBaseline(n)) continue;
      const at = trials.value(axis, n), value = trials.score(n);
      if (!Number.isFinite(at)) { none++; continue; }
      if (value > limit) { out++; continue; }
      x.push(at); y.push(value); who.push(n);
    }
    const best = trials.best(), line = front(trials, axis), text = (n) => [trials.name(n), `score ${num(trials.score(n))}`, `${LABELS[axis]} ${axis === "seconds" ? span(trials.value(axis, n)) : counted(trials.value(axis, n))}`, trials.origin(n)];
    const cloud = (numbers, more) => ({ x: numbers.map((n) => trials.value(axis, n)), y: numbers.map((n) => trials.score(n)), kind: "dots", text: (k) => text(numbers[k]), open: (k) => { location.hash = href("cell", { run: run.id, n: numbers[k] }); }, ...more });
    const seen = (numbers) => numbers.filter((n) => Number.isFinite(trials.value(axis, n)));
    chart.set({
      said: `Score against ${LABELS[axis]} of ${plural(x.length, "cell")}; ${plural(line.length, "cell")} on the Pareto front`,
      x: { label: LABELS[axis], pad: true, log }, y: { label: "score" },
      series: [
        { x, y, kind: "dots", ink: "accent", name: "cells", alpha: x.length > 5000 ? 0.35 : 0.55, radius: x.length > 5000 ? 2 : 3.2, text: (k) => text(who[k]), open: (k) => { location.hash = href("cell", { run: run.id, n: who[k] }); } },
        { ...cloud(line, {}), kind: "steps", ink: "front", width: 2, name: "Pareto front" },
        cloud(line, { ink: "front", radius: 4, alpha: 1, front: true }),
        cloud(seen(controls), { ink: "base", radius: 5, alpha: 1, name: "baselines", front: true }),
        ...(best >= 0 ? [cloud(seen([best]), { ink: "good", radius: 6, alpha: 1, name: "best found", front: true })] : []),
      ],
    });
    said.textContent = [`${plural(x.length, "cell")}`, out ? `${counted(out)} with worse scores are left out` : "", none ? `${counted(none)} have no such number${axis === "macs" && run.texting ? " yet" : ""}` : ""].filter(Boolean).join(" · ");
    table.replaceChildren(panel("On the Pareto front", soft(`No cell is better than one of these in score and ${LABELS[axis]}.`),
      h("ul", { class: "front" }, line.slice().reverse().slice(0, 60).map((n) => h("li", {}, trialLink(run, n), h("span", { class: "number" }, num(trials.score(n))), h("span", { class: "soft" }, axis === "seconds" ? span(trials.value(axis, n)) : counted(trials.value(axis, n))))))));
  }
  show();
  return show;
}
