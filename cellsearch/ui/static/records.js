// What operators paid, what failed and why, who worked when, finals, settings.
import { h, num, counted, span, clock, ask, colour, calm, plural } from "./base.js";
import { ticks } from "./chart.js";
import { small } from "./table.js";
import { panel, soft, tile, trialLink, failedWell, progress } from "./views.js";
import { toType } from "./ablation.js";

/** A view that asks the server once, and again when the run has changed and some seconds are over. */
function asking(name, title, fill, wait = 5000) {
  return async (context) => {
    const { run } = context, place = h("div", {}, soft("Reading …"));
    context.root.append(h("h1", {}, title), place);
    const show = async () => {
      try {
        const found = await ask(name, { run: run.id });
        if (context.live()) place.replaceChildren(...[].concat(fill(found, context)).filter(Boolean));
      } catch (error) { if (context.live()) place.replaceChildren(failedWell(error)); }
    };
    await show();
    return calm(() => { if (context.live()) show(); }, wait);
  };
}

export const operators = asking("operators", "What each operator paid", ({ operators: rows, verdict }) => {
  if (!rows.length) return panel("", soft("No trial of the run has a parent with a score."));
  const most = Math.max(...rows.map((one) => one.tried));
  const bar = (one) => {
    const whole = h("div", { class: "share", title: `${one.better} of ${one.tried} better, ${one.failed} failed` }), parts = [["good", one.better], ["plain", one.tried - one.better - one.failed], ["bad", one.failed]];
    for (const [css, count] of parts) { const part = h("i", { class: css }); part.style.width = `${(count / most) * 100}%`; whole.append(part); }
    return whole;
  };
  const kind = (one) => !one.operator.includes(":") && !one.operator.includes("+") && !one.operator.endsWith(" alone");
  return [panel("", verdict ? h("p", {}, `${verdict[0].toUpperCase()}${verdict.slice(1)}.`) : null,
    h("div", { class: "keys" }, h("i", { class: "good" }), "better than each parent ", h("i", { class: "plain" }), "not better ", h("i", { class: "bad" }), "failed"),
    small([["operator"], ["children"], ["tried", true], ["failed", true], ["better", true], ["share", true], ["mean gain", true], ["best score", true]],
      rows.map((one) => [one.operator, bar(one), counted(one.tried), counted(one.failed), counted(one.better), `${(one.share * 100).toFixed(0)} %`, num(one.gain), num(one.best)]), { label: "Operators", classes: rows.map((one) => (kind(one) ? "strong" : "")) }),
    soft("Gain: how much better the score of a child is than that of its better parent, on average; negative is worse."))];
});

export const failures = asking("failures", "Failures", ({ kinds, count }, { run }) => {
  if (!count) return panel("", h("p", {}, "Nothing has failed."));
  return [h("div", { class: "tiles" }, tile(counted(count), "trials failed"), ...kinds.map((one) => tile(counted(one.count), one.kind))),
    ...kinds.map((one) => panel(`${one.kind} (${counted(one.count)})`, one.meaning ? soft(`${one.meaning[0].toUpperCase()}${one.meaning.slice(1)}.`) : null,
      ...one.causes.slice(0, 40).map((cause) => h("div", { class: "cause" }, h("pre", { tabindex: "0" }, cause.message || "no message"), h("p", { class: "links" }, h("b", {}, plural(cause.count, "cell")), ": ", ...cause.trials.slice(0, 24).flatMap((n) => [trialLink(run, n, String(n)), " "]), cause.count > 24 ? h("span", { class: "soft" }, `and ${counted(cause.count - 24)} more`) : null))),
      one.causes.length > 40 ? soft(`${counted(one.causes.length - 40)} more messages are not shown.`) : null))];
});

const LANE = 26;

/** Who worked when, on a canvas: a lane a worker. */
function lanes(found, run) {
  const canvas = h("canvas", { role: "img" }), tip = h("div", { class: "tip", hidden: true }), root = h("div", { class: "canvas" }, canvas, tip);
  const { workers, under_way: open } = found, now = Date.now() / 1000, live = run.about.writer;
  const every = workers.flatMap((one) => [one.spans[0][1], one.spans[one.spans.length - 1][2]]).concat(open.map((one) => one[2]));
  const low = Math.min(...every), high = live ? Math.max(now, ...every) : Math.max(...every), list = workers.slice(0, 64);
  canvas.setAttribute("aria-label", `${plural(workers.length, "worker")} from ${clock(low)} to ${clock(high)}; the table below says how busy each was`);
  const height = list.length * LANE + 34 + (open.length ? LANE : 0);
  let scale = null, left = 0;
  const draw = calm(() => {
    const width = root.clientWidth, ratio = window.devicePixelRatio || 1;
    if (!width) return;
    canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = `${height}px`;
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.font = "12px system-ui, sans-serif"; c.textBaseline = "middle";
    left = Math.min(width * 0.3, 180);
    scale = (time) => left + ((time - low) / Math.max(1e-6, high - low)) * (width - left - 8);
    list.forEach((one, k) => {
      const y = k * LANE + 5;
      c.fillStyle = colour("soft"); c.textAlign = "right"; c.fillText((one.worker || "this search").slice(-26), left - 10, y + 8, left - 14);
      c.fillStyle = colour("rule"); c.fillRect(left, y, width - left - 8, 16);
      let until = -1;
      for (const [, from, to, failure] of one.spans) {
        const a = scale(from), b = Math.max(scale(to), a + 1);
        if (!failure && b < until) continue;
        until = Math.floor(b) + 0.5;
        c.fillStyle = colour(failure ? "bad" : "accent"); c.globalAlpha = failure ? 1 : 0.8; c.fillRect(a, y, Math.max(0.6, b - a - 0.5), 16); c.globalAlpha = 1;
        if (failure === "crash" || failure === "memory") { c.strokeStyle = colour("bad"); c.lineWidth = 2; c.beginPath(); c.moveTo(b - 4, y - 3); c.lineTo(b + 4, y + 19); c.moveTo(b + 4, y - 3); c.lineTo(b - 4, y + 19); c.stroke(); }
      }
    });
    if (open.length) {
      const y = list.length * LANE + 5;
      c.fillStyle = colour("soft"); c.textAlign = "right"; c.fillText("under way", left - 10, y + 8);
      open.forEach(([, , from], k) => { c.fillStyle = colour("run"); c.globalAlpha = 0.7; const tall = 16 / open.length; c.fillRect(scale(from), y + k * tall, Math.max(1, scale(high) - scale(from)), Math.max(1, tall - 1)); c.globalAlpha = 1; });
    }
    c.fillStyle = colour("soft"); c.textAlign = "center";
    for (const value of ticks(0, high - low, width / 130)) c.fillText(span(value), Math.min(width - 26, scale(low + value)), height - 10);
  });
  new ResizeObserver(draw).observe(root);
  window.addEventListener("themed", draw);
  canvas.addEventListener("pointermove", (event) => {
    if (!scale) return;
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, lane = list[Math.floor((event.clientY - box.top) / LANE)];
    const hit = lane && lane.spans.find(([, from, to]) => scale(from) - 2 <= x && x <= Math.max(scale(to), scale(from) + 2) + 2);
    tip.hidden = !hit;
    if (hit) { tip.replaceChildren(h("b", {}, `trial ${hit[0]}`), h("span", {}, `${clock(hit[1])}, ${span(hit[2] - hit[1])}`), hit[3] ? h("span", {}, hit[3]) : ""); tip.style.left = `${Math.min(x + 12, box.width - 190)}px`; tip.style.top = `${event.clientY - box.top + 14}px`; }
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  return root;
}

export const workers = asking("workers", "Workers", (found, { run }) => {
  const going = progress(run), busy = found.workers.reduce((sum, one) => sum + one.busy, 0);
  if (!found.workers.length) return panel("", soft("Nobody has trained anything yet."));
  return [h("div", { class: "tiles" }, tile(counted(found.workers.length), "workers"), tile(counted(found.under_way.length), "trainings under way", found.under_way.length ? "run" : ""), tile(span(busy), "of training"), tile(run.about.writer ? span(going.left) : "–", run.about.writer ? "left, as the last trials went" : "left: nobody searches"), tile(counted(found.workers.reduce((sum, one) => sum + one.deaths, 0)), "deaths of a worker")),
    panel("Busy, idle, died", found.left_out ? soft(`The last trainings; ${counted(found.left_out)} earlier ones are not drawn.`) : null, h("div", { class: "keys" }, h("i", { class: "accent" }), "trained ", h("i", { class: "bad" }), "failed ", h("i", { class: "run" }), "under way ", h("i", { class: "idle" }), "idle ", h("b", { class: "died" }, "✕"), " the process died"), lanes(found, run)),
    panel("Each worker", small([["worker"], ["trainings", true], ["busy", true], ["share of its time", true], ["failures", true], ["deaths", true], ["first"], ["last"]], found.workers.map((one) => [one.worker || "this search", counted(one.spans.length), span(one.busy), `${(one.share * 100).toFixed(0)} %`, counted(one.spans.filter((it) => it[3]).length), counted(one.deaths), clock(one.spans[0][1]), clock(one.spans[one.spans.length - 1][2])]), { label: "Workers" })),
    found.events.length ? panel("Events of the run", small([["when"], ["what"], [""]], found.events.slice().reverse().slice(0, 100).map(([time, kind, text]) => [clock(time), kind, h("span", { class: "why" }, text)]), { label: "Events" })) : null];
});

function finalTable(table, { run }) {
  const rows = Array.isArray(table.rows) ? table.rows : [], naive = Array.isArray(table.naive) ? table.naive : [];
  if (!rows.length) return soft("The table has no rows.");
  const link = (name) => { const found = /^trial (\d{1,9})$/.exec(String(name)); return found && run.trials.has(Number(found[1])) ? trialLink(run, Number(found[1])) : String(name); };
  const all = rows.flatMap((one) => (Array.isArray(one.scores) ? one.scores : [])).filter(Number.isFinite), low = Math.min(...all), high = Math.max(...all);
  const dots = (one) => {
    const place = h("div", { class: "strip", role: "img", "aria-label": `scores ${(one.scores || []).map((v) => num(v)).join(", ")}` });
    for (const value of one.scores || []) { const dot = h("i"); dot.style.left = `${high > low ? ((value - low) / (high - low)) * 100 : 50}%`; place.append(dot); }
    return place;
  };
  return [h("p", { class: "sentence" }, String(table.sentence || "")), small([["cell"], ["each seed"], ["mean", true], ["deviation", true], ["seeds", true], ["failed", true], ["p", true], ["H", true], ["model weights", true], ["rate", true]],
    [...rows.map((one) => [link(one.name), dots(one), num(one.mean), num(one.deviation), counted((one.scores || []).length + (one.failures || 0)), counted(one.failures), one.baseline ? "–" : num(one.p, 3), counted(one.hidden_size), counted(one.parameters), Number.isFinite(one.learning_rate) ? String(one.learning_rate) : "–"]),
      ...naive.map((one) => [String(one.name), "", num(one.score), "", "", "", "", "", "", "no cell"])], { label: "Finals", classes: rows.map((one) => (one.baseline ? "baseline" : "")) })];
}

export const finals = asking("finals", "Finals", ({ finals: tables, ablations, command }, context) => {
  const parts = ablations.length ? panel("Ablations", soft("What each part of a cell is worth; the view of the cell has the table."), h("dl", { class: "numbers" }, ablations.flatMap((one) => [h("dt", {}, trialLink(context.run, one.trial)), h("dd", {}, one.said || one.error)]))) : null;
  if (!tables.length) return [panel("", h("p", {}, "No finals yet. This retrains the best cells and the baselines from scratch, at equal weights with several seeds, and judges them on test data:"), h("p", {}, toType(command))), parts];
  return [...tables.map(({ file, table, error }) => {
    if (error) return panel(file, soft(error));
    const tasks = Array.isArray(table.tasks) ? table.tasks : [];
    return panel(file, soft("Test data, lower is better; each dot is one seed."), tasks.length ? tasks.flatMap((one) => [h("h3", {}, String(one.name)), finalTable(one.table || {}, context)]).flat() : finalTable(table, context), tasks.length && table.sentence ? h("p", {}, String(table.sentence)) : null);
  }), parts];
}, 20000);

export const settings = asking("settings", "Settings", (found, { run }) => [
  panel("Run", h("dl", { class: "numbers" }, [["folder", found.path], ["made", clock(run.about.created)], ["searched by", run.about.writer || "nobody now"]].flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
  panel("Experiment", h("pre", { tabindex: "0" }, found.experiment)),
  panel("Machines and versions", ...found.environments.slice().reverse().map((one, k) => h("details", { open: k === 0 }, h("summary", {}, `Opened ${clock(one.opened)}`), h("dl", { class: "numbers" }, Object.entries(one.fingerprint).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))))),
], 60000);

