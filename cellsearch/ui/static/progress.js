// How a run is going, and several runs side by side.
import { h, num, counted, span, clock, href, note, plural, ask, drawing } from "./base.js";
import { Chart, ink } from "./chart.js";
import { small } from "./table.js";
import { panel, soft, tile, trialLink, chip, choice, progress, bestSoFar, against } from "./views.js";

export function bar(run) {
  const found = progress(run), share = found.asked ? Math.min(1, found.ended / found.asked) : 0;
  const alive = run.about.writer;
  const inside = h("i");
  inside.style.width = `${share * 100}%`;
  const words = [`${counted(found.ended)} of ${counted(found.asked)} trials`];
  if (alive && Number.isFinite(found.rate)) words.push(found.rate >= 1 ? `${found.rate.toFixed(1)} a second` : `${(found.rate * 60).toFixed(1)} a minute`);
  if (alive && Number.isFinite(found.left) && found.left > 0) words.push(`${span(found.left)} left`);
  return h("div", { class: "progress" },
    h("span", { class: `live ${alive ? "on" : ""}` }, alive ? "searching" : share >= 1 ? "finished" : "nobody searches"),
    h("div", { class: "track", role: "progressbar", "aria-label": "Trials that have ended", "aria-valuemin": 0, "aria-valuemax": found.asked || 1, "aria-valuenow": Math.min(found.ended, found.asked || found.ended) }, inside),
    h("span", { class: "soft" }, words.join(" · ")));
}

function baselineLines(run, last) {
  return run.trials.baselines().slice(0, 4).map((n, k) => ({
    x: [0, last], y: [run.trials.score(n), run.trials.score(n)], kind: "line", ink: k ? "base2" : "base", dash: [6, 4], width: 1.5,
    name: run.trials.name(n), end: run.trials.name(n), text: () => [run.trials.name(n), `score ${num(run.trials.score(n))}`],
  }));
}

const timeText = (value) => (value >= 7200 ? `${+(value / 3600).toPrecision(3)} h` : value >= 120 ? `${+(value / 60).toPrecision(3)} min` : `${+value.toPrecision(3)} s`);

function bestChart(run, chart, byTime) {
  const found = bestSoFar(run, byTime);
  const naive = (run.about.naive || []).slice(0, 1).map((one) => ({ x: [0, found.last || 1], y: [one.score, one.score], kind: "line", ink: "soft", dash: [2, 4], width: 1.5, name: one.name, end: one.name }));
  const top = found.y.length > 4 ? Math.max(...found.y.slice(Math.floor(found.y.length / 8)), ...run.trials.baselines().map((n) => run.trials.score(n)).filter((v) => v < found.y[0] * 2)) : undefined;
  chart.set({
    said: found.y.length ? `Best score so far, ${num(found.y[found.y.length - 1])}, in ${plural(found.who.length, "step")}` : "No score yet",
    x: { label: byTime ? "time of searching" : "trial", low: 0, text: byTime ? timeText : undefined }, y: { label: "score", high: top },
    series: [...naive, ...baselineLines(run, found.last || 1), {
      ...found, kind: "steps", ink: "accent", width: 2.4, name: "best found", front: true,
      text: (k) => [run.trials.name(found.who[k]), `score ${num(found.y[k])}`, run.trials.origin(found.who[k]), byTime ? `after ${timeText(found.x[k])}` : ""].filter(Boolean),
      open: (k) => { location.hash = href("cell", { run: run.id, n: found.who[k] }); },
    }],
  });
}

export function overview(context) {
  const { run, params } = context;
  const head = h("div", { class: "title" }, h("h1", {}, run.about.name), run.about.question ? h("p", { class: "question" }, run.about.question) : null,
    soft(["strategy ", run.about.strategy, " · task ", run.about.task, " · schedule ", run.about.schedule, run.about.precision ? ` · ${run.about.precision}` : "", " · since ", clock(run.about.created)].join("")));
  const going = h("div"), tiles = h("div", { class: "tiles" }), top = h("div"), latest = h("div"), winner = h("div", { class: "winner-cell" });
  const chart = new Chart({ height: 300, label: "Best score so far" });
  let byTime = params.by === "time", drawn = -1;
  const by = choice("Over", [["", "by trial"], ["time", "by time"]], byTime ? "time" : "", (value) => { byTime = value === "time"; note({ by: value }); bestChart(run, chart, byTime); });
  context.root.append(head, going, tiles,
    h("div", { class: "two" }, h("section", { class: "panel" }, h("div", { class: "row-head" }, h("h2", {}, "Best so far"), by), chart.root), h("section", { class: "panel" }, h("div", { class: "row-head" }, h("h2", {}, "Leaders"), h("a", { href: href("leaderboard", { run: run.id }) }, "all")), top)),
    h("div", { class: "two" }, panel("The best cell", winner), panel("What came last", latest)));

  async function show() {
    const { trials } = run, best = trials.best(), counts = progress(run).statuses || {}, beside = against(run);
    going.replaceChildren(bar(run));
    tiles.replaceChildren(
      best >= 0 ? tile(num(trials.score(best)), ["best score, ", trialLink(run, best)], "good") : tile("–", "no score yet"),
      ...(beside ? [tile(`${beside.change > 0 ? "+" : beside.change < 0 ? "−" : ""}${Math.abs(beside.change).toFixed(2)} %`, beside.text)] : []),
      tile(counted((counts.completed || 0) + (counts.stopped || 0)), "cells trained"),
      ...(counts.running ? [tile(counted(counts.running), "being trained", "run")] : []),
      tile(counted(counts.failed || 0), [h("a", { href: href("failures", { run: run.id }) }, "failed")]),
      tile(counted(run.about.answered + (counts.duplicate || 0)), "duplicates answered"));
    bestChart(run, chart, byTime);
    const leaders = [...trials.ranked().slice(0, 8)];
    for (const n of trials.baselines()) if (!leaders.includes(n)) leaders.push(n);
    top.replaceChildren(leaders.length ? small([["cell"], ["score", true], ["weights", true], ["origin"]], leaders.map((n) => [trialLink(run, n), num(trials.score(n)), counted(trials.value("weights", n)), trials.origin(n)]), { label: "Leaders", classes: leaders.map((n) => (trials.isBaseline(n) ? "baseline" : n === best ? "winner" : "")) }) : soft("Nothing has a score yet."));
    const order = trials.whole ? trials.order("ended") : [], last = [];
    for (let k = order.length - 1; k >= 0 && last.length < 9; k--) if (Number.isFinite(trials.columns.ended[order[k]])) last.push(order[k]);
    latest.replaceChildren(last.length ? small([["cell"], ["state"], ["score", true], ["origin"], ["ended"]], last.map((n) => [trialLink(run, n), chip(trials.status(n), trials.kind(n)), num(trials.score(n)), trials.origin(n), clock(trials.columns.ended[n]).split(", ").pop()]), { label: "What came last" }) : soft("Nothing has ended yet."));
    if (best >= 0 && best !== drawn) {
      drawn = best;
      try {
        const about = await ask("trial", { run: run.id, n: best });
        const picture = drawing(about.svg);
        picture.setAttribute("aria-hidden", "true");
        winner.replaceChildren(h("pre", { tabindex: "0" }, about.cell), h("a", { href: href("cell", { run: run.id, n: best }), class: "picture" }, picture, h("span", { class: "hidden" }, `Open ${trials.name(best)}`)));
      } catch (error) { winner.replaceChildren(soft(error.message)); }
    }
  }
  show();
  return show;
}

/** Several runs side by side. */
export function runsView(context) {
  const { runs, params } = context, list = () => [...runs.values()];
  const chart = new Chart({ height: 340, label: "Best score so far of each run" }), place = h("div"), same = h("div");
  let byTime = params.by === "time";
  const by = choice("Over", [["", "by trial"], ["time", "by time"]], byTime ? "time" : "", (value) => { byTime = value === "time"; note({ by: value }); show(); });
  context.root.append(h("h1", {}, "Runs side by side"), place, h("section", { class: "panel" }, h("div", { class: "row-head" }, h("h2", {}, "Best so far"), by), chart.root), same);
  for (const run of list()) run.load().catch(() => show());
  const settings = new Map();
  function show() {
    const fine = list().filter((run) => !run.about.error);
    place.replaceChildren(panel("", small([["run"], ["state"], ["strategy"], ["task"], ["trials", true], ["best score", true], ["best cell"], ["best baseline", true], ["weights", true], ["left", true]],
      list().map((run) => {
        if (run.about.error) return [run.id, h("span", { class: "chip failed" }, "cannot be read"), run.about.error, "", "", "", "", "", "", ""];
        const { trials } = run, best = trials.best(), base = trials.baselines()[0], going = progress(run);
        return [h("a", { href: href("overview", { run: run.id }) }, run.id), h("span", { class: `live ${run.about.writer ? "on" : ""}` }, run.about.writer ? "searching" : going.ended >= going.asked ? "finished" : "at rest"), run.about.strategy, run.about.task, `${counted(going.ended)} of ${counted(going.asked)}`,
          best >= 0 ? num(trials.score(best)) : "–", best >= 0 ? trialLink(run, best) : "–", base === undefined ? "–" : `${trials.name(base)} ${num(trials.score(base))}`, best >= 0 ? counted(trials.value("weights", best)) : "–", Number.isFinite(going.left) && going.left > 0 ? span(going.left) : "–"];
      }), { label: "Runs" })));
    chart.set({
      said: `Best score so far of ${plural(fine.length, "run")}`, x: { label: byTime ? "time of searching" : "trial", low: 0, text: byTime ? timeText : undefined }, y: { label: "score" },
      series: fine.map((run, k) => {
        const found = bestSoFar(run, byTime);
        return { ...found, kind: "steps", ink: ink(k), name: run.id, end: fine.length < 12 ? run.id : "", text: (j) => [run.id, `${run.trials.name(found.who[j])}: ${num(found.y[j])}`], open: (j) => { location.hash = href("cell", { run: run.id, n: found.who[j] }); } };
      }),
    });
    differ(fine);
  }
  async function differ(fine) {
    for (const run of fine.slice(0, 20)) {
      if (settings.has(run.id)) continue;
      settings.set(run.id, new Map());
      const { experiment } = await ask("settings", { run: run.id });
      settings.set(run.id, values(experiment));
    }
    const known = fine.filter((run) => settings.get(run.id)?.size), names = [...new Set(known.flatMap((run) => [...settings.get(run.id).keys()]))];
    const apart = names.filter((name) => new Set(known.map((run) => settings.get(run.id).get(name))).size > 1);
    same.replaceChildren(panel("Settings that differ", known.length < 2 || !apart.length ? soft("None.") : small([["setting"], ...known.map((run) => [run.id])], apart.map((name) => [h("code", {}, name), ...known.map((run) => settings.get(run.id).get(name) ?? "–")]), { label: "Settings that differ" })));
  }
  show();
  return show;
}

/** Keys and values of a TOML text as the store writes it, one a line. */
export function values(text) {
  const found = new Map();
  let table = "";
  for (const one of text.split("\n")) {
    const head = /^\[+([^\]]+)\]+\s*$/.exec(one), pair = /^([\w."-]+) = (.*)$/.exec(one);
    if (head) table = `${head[1]}.`;
    else if (pair) found.set(table + pair[1], pair[2]);
  }
  return found;
}
