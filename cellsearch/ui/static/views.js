// What several views share: names of trials, states, sections, progress of a run.
import { h, href } from "./base.js";

export const panel = (title, ...children) => h("section", { class: "panel" }, title ? h("h2", {}, title) : null, ...children);
export const soft = (...text) => h("p", { class: "soft" }, ...text);
export const tile = (value, text, css = "") => h("div", { class: `tile ${css}` }, h("b", {}, value), h("span", {}, text));

/** A link to a trial. */
export function trialLink(run, n, text) {
  return h("a", { href: href("cell", { run: run.id, n }), class: run.trials.has(n) && run.trials.isBaseline(n) ? "base" : "" }, text || (run.trials.has(n) ? run.trials.name(n) : `trial ${n}`));
}

export function chip(status, kind = "") {
  return h("span", { class: `chip ${status}` }, kind ? `${status}: ${kind}` : status);
}

/** Buttons of which one is pressed. choices: [value, text]. */
export function choice(label, choices, now, pick) {
  const group = h("div", { class: "choice", role: "group", "aria-label": label });
  group.append(...choices.map(([value, text]) => h("button", {
    type: "button", "aria-pressed": String(value === now), onclick: (event) => {
      for (const one of group.children) one.setAttribute("aria-pressed", String(one === event.currentTarget));
      pick(value);
    },
  }, text)));
  return group;
}

/** Trials that were named in a list of numbers, "3,7,12". */
export const numbersOf = (text) => (text || "").split(",").filter((one) => /^\d{1,9}$/.test(one)).map(Number);

/** How far a run is: how many count, how many of these have ended, how fast they end. */
export function progress(run) {
  const { trials } = run, { asked_for: asked, openings, statuses } = run.about;
  const sitting = Math.max(0, ...(openings || []));
  const found = { asked, ended: 0, statuses, left: NaN, rate: NaN };
  if (!trials.whole) {
    found.ended = ["completed", "stopped", "failed", "duplicate"].reduce((sum, one) => sum + (statuses?.[one] || 0), 0);
    return found;
  }
  if (run.progressAt === trials.stamp) return { ...run.progressFound, ...late(run, run.progressFound) };
  const imported = new Set(trials.origins.map((text, k) => (text.startsWith("imported") ? k : -1)));
  const free = trials.kinds.indexOf("prefilter"), times = [];
  const { kind, origin, ended } = trials.columns;
  for (let n = 0; n < trials.count; n++) {
    if (!trials.ended(n) || (free >= 0 && kind[n] === free) || imported.has(origin[n])) continue;
    found.ended++;
    if (ended[n] >= sitting) times.push(ended[n]);
  }
  found.statuses = trials.statuses();
  found.times = Float64Array.from(times).sort().slice(-200);
  run.progressAt = trials.stamp;
  run.progressFound = found;
  return { ...found, ...late(run, found) };
}

function late(run, { times, asked, ended }) {
  if (!run.about.writer || times.length < 2 || ended >= asked) return { left: ended >= asked ? 0 : NaN, rate: NaN };
  const now = Date.now() / 1000, last = times[times.length - 1];
  const each = Math.max(now - times[0], last - times[0]) / (times.length - 1);
  return { left: each * (asked - ended), rate: 1 / each };
}

/** Seconds of searching until each trial ended, pauses between sittings left out: [time, number]. */
export function timeline(run) {
  const { trials } = run;
  if (run.timesAt === trials.stamp) return run.timesFound;
  const { ended } = trials.columns, order = [];
  for (let n = 0; n < trials.count; n++) if (trials.has(n) && ended[n] === ended[n]) order.push(n);
  order.sort((a, b) => ended[a] - ended[b]);
  const openings = (run.about.openings || []).slice(1);
  let elapsed = 0, before = run.about.created;
  const found = order.map((n) => {
    const opened = Math.max(before, ...openings.filter((one) => one > before && one <= ended[n]));
    elapsed += ended[n] - opened;
    before = ended[n];
    return [elapsed, n];
  });
  run.timesAt = trials.stamp;
  run.timesFound = found;
  return found;
}

/** Where the best score changes: x, y and the trials; by trial or by time. */
export function bestSoFar(run, byTime) {
  const { trials } = run, x = [], y = [], who = [];
  let best = Infinity, last = 0;
  const look = (at, n) => {
    last = at;
    if (!trials.ranks(n) || trials.isBaseline(n)) return;
    const score = trials.score(n);
    if (score < best) { best = score; x.push(at); y.push(score); who.push(n); }
  };
  if (byTime) for (const [at, n] of timeline(run)) look(at, n);
  else for (let n = 0; n < trials.count; n++) if (trials.has(n)) look(n, n);
  if (x.length && last > x[x.length - 1]) { x.push(last); y.push(best); who.push(who[who.length - 1]); }
  return { x, y, who, last };
}

/** A sentence about how a score stands to the best baseline. */
export function against(run) {
  const { trials } = run, best = trials.best(), base = trials.baselines()[0];
  if (best < 0 || base === undefined) return null;
  const change = (trials.score(best) / trials.score(base) - 1) * 100;
  return { change, base, text: `${change < 0 ? "better" : change > 0 ? "worse" : "equal"} than ${trials.name(base)}: one training, validation` };
}

export const failedWell = (error) => h("div", { class: "panel failed", role: "alert" }, h("b", {}, "This cannot be shown. "), error.message);
