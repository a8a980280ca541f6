// The page: which view of which run, keys, links, changes as they come.
import { h, href, here, note, theme, say, calm, ask } from "./base.js";
import { Run, follow } from "./data.js";
import { board } from "./board.js";
import { overview, runsView } from "./progress.js";
import { curves, tradeoffs } from "./plots.js";
import { cell } from "./cell.js";
import { lineage } from "./tree.js";
import { operators, failures, workers, finals, settings } from "./records.js";
import { failedWell, soft } from "./views.js";

const VIEWS = [
  ["overview", "Overview", overview], ["leaderboard", "Leaderboard", board], ["cell", "Cell", cell], ["curves", "Curves", curves], ["tradeoffs", "Trade-offs", tradeoffs], ["lineage", "Lineage", lineage],
  ["operators", "Operators", operators], ["failures", "Failures", failures], ["workers", "Workers", workers], ["finals", "Finals", finals], ["settings", "Settings", settings], ["runs", "Runs", runsView],
];
const KEYS = [["1 … 9, 0", "the views, in order"], ["/", "search the leaderboard"], ["j k, arrows", "up and down in a table, Enter opens"], ["b", "the best cell"], ["[ ]", "the run before, the run after"], ["c", "copy a link to this view"], ["t", "light, dark, or as the system"], ["?", "these keys"]];

const boot = JSON.parse(document.getElementById("boot").textContent), runs = new Map();
const main = document.getElementById("main"), tabs = document.getElementById("tabs"), picked = document.getElementById("picked");
for (const summary of boot.runs) runs.set(summary.run, new Run(summary, boot.first));
let turn = 0, update = null, now = null, listening = null, connected = true;

const views = () => (runs.size > 1 ? [VIEWS[VIEWS.length - 1], ...VIEWS.slice(0, -1)] : VIEWS.slice(0, -1));

function frame(view, run) {
  tabs.replaceChildren(...views().map(([name, title]) => h("a", { href: href(name, { run: name === "runs" ? "" : run?.id }), "aria-current": name === view ? "page" : undefined }, title)));
  const current = tabs.querySelector("[aria-current]");
  if (current && tabs.scrollWidth > tabs.clientWidth) tabs.scrollLeft = current.offsetLeft - tabs.clientWidth / 2 + current.offsetWidth / 2;
  const select = h("select", { "aria-label": "Run", onchange: (event) => { location.hash = href(view === "runs" || view === "cell" ? "overview" : view, { run: event.target.value }); } }, [...runs.values()].map((one) => h("option", { value: one.id, selected: one === run }, one.id)));
  picked.replaceChildren(...(runs.size > 1 ? [select] : [h("span", { class: "run" }, run?.id || "")]), h("span", { class: `live ${!connected ? "lost" : run?.about.writer ? "on" : ""}` }, !connected ? "server gone" : run?.about.writer ? "live" : ""));
}

async function show() {
  const mine = ++turn, { view: asked, params } = here();
  const fallback = runs.size > 1 ? "runs" : "overview", view = views().some(([name]) => name === asked) ? asked : fallback;
  const run = runs.get(params.run) || runs.values().next().value;
  if (now && listening) now.listeners.delete(listening);
  update = null;
  now = run;
  frame(view, run);
  const [, title, render] = VIEWS.find(([name]) => name === view);
  document.title = `${title}${run && view !== "runs" ? ` · ${run.id}` : ""} · cellsearch`;
  main.className = view;
  main.replaceChildren();
  if (!run) { main.append(soft("There is no run.")); return; }
  if (params.run && !runs.has(params.run)) main.append(soft(`There is no run ${params.run} here; this is ${run.id}.`));
  if (run.about.error && view !== "runs") { main.append(failedWell(new Error(run.about.error))); return; }
  const root = h("div", { class: "view" });
  main.append(root);
  const context = { run, runs, params, root, live: () => mine === turn };
  const early = ["overview", "leaderboard"].includes(view);
  const ready = run.load();
  ready.catch((error) => { if (context.live()) { run.about.error = error.message; show(); } });
  if (!early && view !== "runs") { try { await ready; } catch { return; } }
  if (!context.live()) return;
  const made = await render(context);
  if (!context.live()) return;
  update = calm(() => { if (context.live()) { frame(view, run); if (made) made(run); } }, 1000);
  listening = () => update && update();
  (view === "runs" ? [...runs.values()] : [run]).forEach((one) => one.listeners.add(listening));
  if (early && run.trials.whole) update();
}

const copy = async () => {
  const { params } = here();
  if (now && !params.run) note({ run: now.id });
  try { await navigator.clipboard.writeText(location.href); say("The link is copied."); } catch { say(location.href); }
};

function keys() {
  const box = document.getElementById("keys");
  if (box.open) { box.close(); return; }
  box.replaceChildren(h("h2", {}, "Keys"), h("dl", { class: "numbers" }, KEYS.flatMap(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)])), h("form", { method: "dialog" }, h("button", {}, "Close")));
  box.showModal();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const go = (view) => { location.hash = href(view, { run: now?.id }); };
  const step = (by) => { const list = [...runs.keys()], k = list.indexOf(now?.id) + by; if (list[k]) location.hash = href(here().view || "overview", { run: list[k] }); };
  if (/^[0-9]$/.test(event.key)) { const found = views()[(Number(event.key) + 9) % 10]; if (found) go(found[0]); }
  else if (event.key === "/") { event.preventDefault(); if (here().view !== "leaderboard") go("leaderboard"); setTimeout(() => document.getElementById("search")?.focus(), 80); }
  else if (event.key === "b" && now) { location.hash = href("cell", { run: now.id, n: now.trials.best() }); }
  else if (event.key === "[") step(-1);
  else if (event.key === "]") step(1);
  else if (event.key === "c") copy();
  else if (event.key === "t") theme(1);
  else if (event.key === "?") keys();
});
document.getElementById("link").addEventListener("click", copy);
document.getElementById("theme").addEventListener("click", () => theme(1));
document.getElementById("help").addEventListener("click", keys);
addEventListener("hashchange", () => { show(); scrollTo(0, 0); });
theme();
show();
follow(runs, (found) => {
  for (const summary of found) if (!runs.has(summary.run)) { runs.set(summary.run, new Run(summary, null)); say(`There is a new run: ${summary.run}`); }
  frame(here().view, now);
}, async (fine) => {
  const before = connected;
  connected = fine;
  if (now) frame(here().view || "overview", now);
  if (fine && !before) for (const summary of (await ask("runs")).runs) if (runs.has(summary.run)) Object.assign(runs.get(summary.run).about, summary);
});
