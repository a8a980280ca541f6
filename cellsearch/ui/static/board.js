// The leaderboard: sort, filter, search by equation text or op.
import { h, num, counted, compact, span, href, note, calm } from "./base.js";
import { STATUSES } from "./data.js";
import { Rows } from "./table.js";
import { chip, trialLink } from "./views.js";

const SHOWN = ["completed", "stopped"];

/** What a search text asks for: op:NAME, origin:TEXT, #NUMBER, and pieces of equations. */
export function asked(text) {
  const found = { ops: [], texts: [], origins: [], numbers: [] };
  const rest = text.replace(/(^|\s)(?:(op|origin|by):(\S+)|#(\d+))(?=\s|$)/g, (whole, gap, key, value, number) => {
    if (number) found.numbers.push(Number(number));
    else found[key === "op" ? "ops" : "origins"].push(value.toLowerCase());
    return " ";
  }).trim().toLowerCase();
  // Words stand each for themselves; what has signs in it is a piece of an equation.
  found.texts = /^[\w\s]*$/.test(rest) ? rest.split(/\s+/).filter(Boolean) : [rest.replace(/\s+/g, "")];
  return found;
}

const INFIX = { add: " + ", mul: " * ", sub: " - ", div: " / " };
const hasOp = (text, op) => text.includes(`${op}(`) || (INFIX[op] !== undefined && text.includes(INFIX[op]));

const WRITTEN = new Set(["x", "t", "h", "bias", "false"]);
/** Words that must be in what is stored of a cell for a text to find it: names, longer numbers, and ops that are written as signs. */
function wordsOf({ texts }) {
  const found = texts.flatMap((one) => [...one.matchAll(/[a-z_]\w*|\d[\d.]*\d/g)].map(([word]) => word)).filter((word) => !WRITTEN.has(word));
  return [...found, ...(texts.some((one) => one.includes("*")) ? ["mul"] : []), ...(texts.some((one) => one.includes("/")) ? ["div"] : [])];
}

/** A function that says of a trial whether a search text finds it; null for an empty text. may: which cells may hold it, as far as that is known. */
export function finder(run, text, may) {
  const wanted = asked(text), { trials } = run;
  if (!Object.values(wanted).some((one) => one.length)) return null;
  const origins = trials.origins.map((one) => wanted.origins.every((part) => one.toLowerCase().includes(part)));
  return (n) => {
    if (wanted.numbers.length && !wanted.numbers.includes(n)) return false;
    if (wanted.origins.length && !origins[trials.columns.origin[n]]) return false;
    if (!wanted.ops.length && !wanted.texts.length) return true;
    if (may && n < may.length && (!may[n] || !wanted.texts.length)) return may[n] === 1;
    const cell = trials.texts[n];
    if (!cell) return false;
    if (!wanted.ops.every((op) => hasOp(cell, op))) return false;
    return wanted.texts.every((part) => squeezed(trials, n).includes(part));
  };
}

/** Equations without spaces, in small letters; made once. */
function squeezed(trials, n) {
  trials.tight ||= [];
  return (trials.tight[n] ??= trials.texts[n].toLowerCase().replace(/ +/g, ""));
}

export const needsTexts = (text) => { const found = asked(text); return found.ops.length + found.texts.length > 0; };
export const line = (text) => (text || "").trim().replaceAll("\n", "   ");

function columns(run) {
  const { trials } = run;
  const some = (name) => { for (let n = 0; n < Math.min(trials.count, 5000); n++) if (trials.has(n) && Number.isFinite(trials.columns[name][n])) return true; return false; };
  const apart = (() => { for (let n = 0; n < Math.min(trials.count, 2000); n++) if (trials.ranks(n) && trials.columns.metric[n] !== trials.columns.score[n]) return true; return false; })();
  const number = (title, name, text, width) => ({ title, name, width, right: true, sort: name, cell: (n) => text(trials.value(name, n), n) });
  return [
    { title: "#", width: "48px", right: true, cell: (n) => (run.places?.[n] ? String(run.places[n]) : "") },
    { title: "cell", width: "92px", sort: "number", cell: (n) => trialLink(run, n) },
    { title: "score", note: apart ? "" : run.about.metric, width: apart ? "80px" : "98px", right: true, sort: "score", cell: (n) => num(trials.score(n)) },
    ...(apart ? [{ ...number("metric", "metric", (v) => num(v), "98px"), note: run.about.metric }] : []),
    number("weights", "weights", counted, "78px"),
    ...(some("macs") || trials.macs.length ? [number("multiply-adds", "macs", counted, "86px")] : []),
    ...(some("predicted") ? [number("µs a step", "predicted", (v) => num(v, 1), "70px")] : []),
    ...(trials.nodes.length ? [number("nodes", "nodes", counted, "58px")] : []),
    number("steps", "steps", compact, "60px"),
    number("time", "seconds", (v, n) => (trials.columns.trainings[trials.source(n)] ? span(v) : "–"), "72px"),
    { title: "state", width: "112px", sort: "status", cell: (n) => chip(trials.status(n), trials.kind(n)) },
    { title: "origin", width: "minmax(110px, 170px)", sort: "origin", cell: (n) => trials.origin(n) },
    { title: "equations", width: "minmax(220px, 3fr)", cell: (n) => (trials.texts[n] === undefined ? "" : h("code", {}, line(trials.texts[n]))) },
  ];
}

export function board(context) {
  const { run, params } = context, { trials } = run;
  const state = { sort: (params.sort || "score").replace(/^-/, ""), down: (params.sort || "").startsWith("-"), q: params.q || "", status: params.status ? params.status.split(",").filter((one) => STATUSES.includes(one)) : SHOWN };
  const told = h("span", { class: "soft", role: "status" });
  const search = h("input", { type: "search", id: "search", value: state.q, placeholder: "Search equations, op:tanh, origin:mutate, #12", "aria-label": "Search equations, op:NAME, origin:TEXT or #NUMBER", autocomplete: "off", spellcheck: false });
  const chosen = new Set(params.pick ? params.pick.split(",") : []);
  const rows = new Rows({
    columns: columns(run), label: "Leaderboard",
    open: (n) => { location.hash = href("cell", { run: run.id, n }); },
    sort: (name) => { state.down = state.sort === name ? !state.down : false; state.sort = name; keep(); show(); },
    mark: (n) => (run.trials.isBaseline(n) ? "baseline" : n === best ? "winner" : ""),
  });
  let best = trials.best();
  const keep = () => note({ sort: (state.down ? "-" : "") + state.sort === "score" ? "" : (state.down ? "-" : "") + state.sort, q: state.q, status: state.status.join() === SHOWN.join() ? "" : state.status.join() });
  const fetchSeen = calm(async () => {
    const wanted = (rows.now || []).filter((n) => run.trials.texts[n] === undefined);
    if (!wanted.length || !run.trials.whole) return;
    await run.textsOf(wanted);
    rows.draw();
  }, 120);
  rows.seen = (numbers) => { rows.now = numbers; fetchSeen(); };

  function show() {
    const begun = performance.now(), now = run.trials;
    best = now.best();
    if (run.placesAt !== now.stamp && now.whole) {
      run.placesAt = now.stamp;
      run.places = new Int32Array(now.count);
      now.ranked().forEach((n, k) => { run.places[n] = k + 1; });
    }
    const lack = lacking(now), found = finder(run, state.q, lack.may), allowed = STATUSES.map((name) => state.status.includes(name));
    const key = [now.stamp, now.nodes.length > 0, now.macs.length > 0].join();
    if (rows.made !== key || rows.madeOf !== now) { rows.made = key; rows.madeOf = now; rows.setColumns(columns(run)); }
    const picked = now.whole || now.count ? now.pick(state.sort, state.down, (n) => allowed[now.columns.status[n]] && (!found || found(n))) : [];
    rows.set(picked, state.sort, state.down);
    window.lastShow = performance.now() - begun;
    told.textContent = `${counted(picked.length)} of ${counted(now.whole ? now.count : run.about.count)}${lack.text}`;
  }

  /** What is not known yet of what is searched for: which cells may hold it, and a text that says how far it is. */
  function lacking(now) {
    if (!needsTexts(state.q) || !now.whole) return { may: null, text: "" };
    const wanted = asked(state.q), { may, error } = run.having(wanted.ops, wordsOf(wanted), show);
    if (error) return { may, text: `: ${error}` };
    if (!may) return { may, text: ", looking …" };
    const candidates = wanted.texts.length || now.count > may.length ? now.order("score").filter((n) => n >= may.length || (may[n] && wanted.texts.length)) : [];
    const left = candidates.reduce((sum, n) => sum + (now.texts[n] === undefined), 0);
    if (!left || state.failed === state.q) return { may, text: "" };
    if (!run.texting) run.readTexts(candidates, calm(show, 700)).then(show, (error) => { state.failed = state.q; told.textContent = error.message; });
    return { may, text: ` so far: of ${counted(candidates.length)} that may hold it, ${counted(left)} are still to be read` };
  }

  const typed = calm(() => {
    state.q = search.value;
    keep();
    show();
  }, 60);
  search.addEventListener("input", typed);
  const filters = h("div", { class: "filters", role: "group", "aria-label": "States that are shown" }, STATUSES.map((name) => h("button", {
    type: "button", class: `filter ${name}`, "aria-pressed": String(state.status.includes(name)),
    onclick: (event) => {
      const on = state.status.includes(name);
      state.status = on ? state.status.filter((one) => one !== name) : [...state.status, name];
      event.currentTarget.setAttribute("aria-pressed", String(!on));
      keep(); show();
    },
  }, name)));
  const curves = h("button", { type: "button", onclick: () => { location.hash = href("curves", { run: run.id, trials: [...chosen].join() || Array.from(rows.rows.slice(0, 8)).join() }); } }, "Curves of the first 8");
  context.root.append(h("div", { class: "board" }, h("h1", { class: "hidden" }, "Leaderboard"), h("div", { class: "bar" }, search, filters, told, curves), rows.scroll));
  show();
  return show;
}
