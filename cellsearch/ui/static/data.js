// The trials of a run as typed arrays: read in one piece, changed row by row, sorted and filtered here.
import { ask } from "./base.js";

const TYPES = { d: Float64Array, f: Float32Array, i: Int32Array, h: Int16Array, B: Uint8Array };
const RANKS = 1;
/** Cells whose equations come together, as the server has them; and so many of the best before. */
const CHUNK = 1000, FIRST = 600;
export const STATUSES = ["waiting", "running", "completed", "stopped", "failed", "duplicate"];

export class Trials {
  constructor() {
    this.count = 0;
    this.fields = [];
    this.columns = {};
    this.origins = [];
    this.kinds = [];
    this.whole = false;
    this.texts = [];
    this.nodes = [];
    this.macs = [];
    this.textCount = 0;
    this.fresh();
  }

  fresh() { this.orders = new Map(); this.ranking = null; this.stamp = (this.stamp || 0) + 1; }

  /** The first page: a few rows, before the columns are here. */
  static few(first) {
    const made = new Trials();
    made.fields = first.fields;
    made.origins = first.origins || [];
    made.kinds = first.kinds || [];
    const most = Math.max(-1, ...first.rows.map((row) => row[0])) + 1;
    made.room(most);
    made.count = most;
    made.columns.status.fill(255);
    made.columns.twin.fill(-1);
    for (const row of first.rows) made.put(row);
    return made;
  }

  /** All columns, as the server packs them. */
  static packed(buffer) {
    const made = new Trials();
    const size = Number(new DataView(buffer).getBigUint64(0, true));
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
    Object.assign(made, { fields: head.fields, origins: head.origins, kinds: head.kinds, count: head.count, whole: true });
    let place = 8 + size;
    for (const [name, code] of head.fields) {
      const type = TYPES[code];
      made.columns[name] = new type(buffer, place, head.count);
      place += head.count * type.BYTES_PER_ELEMENT;
    }
    return made;
  }

  room(count) {
    for (const [name, code] of this.fields) {
      const have = this.columns[name];
      if (have && have.length >= count) continue;
      const more = new TYPES[code](Math.max(count, Math.ceil((have ? have.length : 0) * 1.5) + 64));
      if (have) more.set(have);
      this.columns[name] = more;
    }
  }

  put(row) {
    const number = row[0];
    this.room(number + 1);
    this.fields.forEach(([name, code], k) => {
      const value = row[k + 1];
      this.columns[name][number] = value === null && (code === "d" || code === "f") ? NaN : value;
    });
    this.count = Math.max(this.count, number + 1);
  }

  change(said) {
    for (const name of ["origins", "kinds"]) {
      if (!said[name]) continue;
      const [start, texts] = said[name];
      texts.forEach((text, k) => { this[name][start + k] = text; });
    }
    for (const row of said.rows || []) this.put(row);
    if (said.rows && said.rows.length) this.fresh();
  }

  status(n) { return STATUSES[this.columns.status[n]] || ""; }
  origin(n) { return this.origins[this.columns.origin[n]] || ""; }
  kind(n) { const k = this.columns.kind[n]; return k >= 0 ? this.kinds[k] || "" : ""; }
  ranks(n) { return (this.columns.flags[n] & RANKS) !== 0; }
  isBaseline(n) { return this.origin(n).startsWith("baseline"); }
  name(n) { return this.isBaseline(n) ? this.origin(n).slice(9).toUpperCase() || `trial ${n}` : `trial ${n}`; }
  has(n) { return n >= 0 && n < this.count && this.columns.status[n] !== 255; }
  ended(n) { const s = this.columns.status[n]; return s >= 2 && s < 6; }
  /** Where its results are: those of a duplicate are of the trial that answers it. */
  source(n) { const twin = this.columns.twin[n]; return twin >= 0 ? twin : n; }
  score(n) { return this.columns.score[this.source(n)]; }

  value(name, n) {
    if (name === "number") return n;
    if (name === "macs") { const m = this.columns.macs[this.source(n)]; return Number.isFinite(m) ? m : this.macs[n] ?? NaN; }
    if (name === "nodes") return this.nodes[n] ?? NaN;
    const value = this.columns[name][this.source(n)];
    return ["weights", "parameters", "steps"].includes(name) && value < 0 ? NaN : value;
  }

  /** Numbers of all trials, rising by a column; what has no number comes last. */
  order(name) {
    if (!this.orders.has(name)) this.orders.set(name, this.sorted(name));
    return this.orders.get(name);
  }

  sorted(name) {
    const count = this.count, order = new Uint32Array(count);
    let used = 0;
    for (let n = 0; n < count; n++) if (this.has(n)) order[used++] = n;
    const mine = order.subarray(0, used);
    if (name === "number") return mine;
    const keys = new Float64Array(count);
    if (name === "origin" || name === "status") {
      const texts = name === "origin" ? this.origins : STATUSES;
      const places = new Map([...texts].map((text, k) => [k, text]).sort((a, b) => (a[1] < b[1] ? -1 : 1)).map(([k], place) => [k, place]));
      for (let n = 0; n < count; n++) keys[n] = places.get(this.columns[name][n]) ?? 1e9;
    } else if (name === "score") {
      for (let n = 0; n < count; n++) {
        const value = this.score(n);
        keys[n] = value === value && (this.ranks(n) || this.columns.twin[n] >= 0) ? value : value === value ? 1e300 : Infinity;
      }
    } else if (name === "macs" || name === "nodes") {
      for (let n = 0; n < count; n++) { const value = this.value(name, n); keys[n] = value === value ? value : Infinity; }
    } else {
      const column = this.columns[name], { twin } = this.columns, whole = column instanceof Int32Array;
      for (let n = 0; n < count; n++) {
        const value = column[twin[n] >= 0 ? twin[n] : n];
        keys[n] = value === value && !(whole && value < 0) ? value : Infinity;
      }
    }
    return bySize(mine, keys);
  }

  /** The numbers of trials in an order, those alone that a filter lets through. */
  pick(name, down, lets) {
    const order = this.order(name), found = new Uint32Array(order.length);
    let used = 0;
    if (!down) {
      for (let k = 0; k < order.length; k++) if (!lets || lets(order[k])) found[used++] = order[k];
      return found.subarray(0, used);
    }
    const rest = [];
    for (let k = order.length - 1; k >= 0; k--) {
      const n = order[k];
      if (lets && !lets(n)) continue;
      const value = name === "status" || name === "origin" ? 0 : name === "score" ? this.score(n) : this.value(name, n);
      if (value === value) found[used++] = n; else rest.push(n);
    }
    for (const n of rest) found[used++] = n;
    return found.subarray(0, used);
  }

  /** Numbers of the trials that have a place among the results, the best first. */
  ranked() { return (this.ranking ??= this.order("score").filter((n) => this.ranks(n))); }

  best() { return this.ranked().find((n) => !this.isBaseline(n)) ?? -1; }
  baselines() {
    if (this.foundAt !== this.stamp) {
      this.foundAt = this.stamp;
      this.found = [];
      const which = new Set(this.origins.map((text, k) => (text.startsWith("baseline") ? k : -1)));
      for (let n = 0; n < this.count; n++) if (which.has(this.columns.origin[n]) && this.ranks(n)) this.found.push(n);
      this.found.sort((a, b) => this.score(a) - this.score(b));
    }
    return this.found;
  }
  statuses() {
    const found = Object.fromEntries(STATUSES.map((name) => [name, 0]));
    for (let n = 0; n < this.count; n++) found[STATUSES[this.columns.status[n]]]++;
    return found;
  }
}

/**
 * Numbers in the order of their keys, ties by number. Sorted are the keys as 32 bits with the number
 * behind them, which the browser does without a call of ours; what 32 bits cannot tell apart is put
 * right afterwards.
 */
function bySize(numbers, keys) {
  const exactly = (a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b);
  if (keys.length > 0x100000) return numbers.sort(exactly);
  const count = numbers.length, packed = new Float64Array(count), one = new Float32Array(1), bits = new Uint32Array(one.buffer);
  for (let k = 0; k < count; k++) {
    one[0] = keys[numbers[k]];
    const code = bits[0] & 0x80000000 ? ~bits[0] >>> 0 : (bits[0] | 0x80000000) >>> 0;
    packed[k] = code * 0x100000 + numbers[k];
  }
  packed.sort();
  for (let k = 0; k < count; k++) numbers[k] = packed[k] % 0x100000;
  let moves = 0;
  for (let k = 1; k < count; k++) {
    const n = numbers[k], key = keys[n];
    let j = k;
    for (; j > 0; j--) {
      const before = numbers[j - 1], other = keys[before];
      if (other < key || (other === key && before < n)) break;
      numbers[j] = before;
    }
    if (j === k) continue;
    numbers[j] = n;
    moves += k - j;
    if (moves > 20 * count) return numbers.sort(exactly);
  }
  return numbers;
}

/** One run on the page: what it is, its trials, and who wants to know of changes. */
export class Run {
  constructor(summary, first) {
    this.about = summary;
    this.id = summary.run;
    this.trials = first && first.rows.length ? Trials.few(first) : new Trials();
    this.version = -1;
    this.waiting = [];
    this.listeners = new Set();
  }

  tell() { for (const listener of this.listeners) listener(this); }

  /** Read all columns, once; changes that came meanwhile are applied afterwards. */
  load() {
    if (!this.loading) {
      this.pending = true;
      this.loading = (async () => {
        const answer = await fetch(`/api/columns?run=${encodeURIComponent(this.id)}`);
        if (!answer.ok) throw new Error((await answer.json()).error);
        const old = this.trials;
        this.version = Number(answer.headers.get("X-Version"));
        this.trials = Trials.packed(await answer.arrayBuffer());
        if (old.whole) Object.assign(this.trials, { texts: old.texts, nodes: old.nodes, macs: old.macs, textCount: old.textCount });
        for (const said of this.waiting.splice(0)) if (said.version > this.version) this.trials.change(said);
        this.pending = false;
        this.tell();
      })().catch((error) => { this.loading = null; this.pending = false; throw error; });
    }
    return this.loading;
  }

  again() { this.loading = null; this.texting = null; return this.load(); }

  hear(said) {
    if (said.error) { this.about.error = said.error; this.tell(); return; }
    delete this.about.error;
    if (said.writer !== undefined) this.about.writer = said.writer;
    if (this.pending || !this.trials.whole) this.waiting.push(said);
    if (!this.trials.whole) { this.tell(); return; }
    if (said.rows === undefined) { this.again(); return; }
    this.trials.change(said);
    this.version = said.version;
    this.tell();
  }

  /** The equations of some trials, asked for once. */
  async textsOf(numbers) {
    const missing = numbers.filter((n) => this.trials.texts[n] === undefined);
    for (let k = 0; k < missing.length; k += 200) {
      const part = missing.slice(k, k + 200);
      this.keep((await ask("texts", { run: this.id, trials: part.join(",") })).texts);
    }
  }

  keep(texts) {
    for (const [number, found] of Object.entries(texts)) this.put(Number(number), found);
    this.trials.orders.delete("nodes");
    this.trials.orders.delete("macs");
  }

  put(number, [text, nodes, macs]) {
    const { trials } = this;
    if (trials.texts[number] === undefined) trials.textCount++;
    trials.texts[number] = text;
    trials.nodes[number] = nodes;
    trials.macs[number] = macs ?? NaN;
  }

  /** Which cells hold all of some ops and words, by what is stored of them: 1 or 0 for each; null until the server has answered. */
  having(ops, words, then) {
    const key = [...ops, "", ...words].join();
    if (this.held?.key !== key) {
      const held = { key, may: null };
      this.held = held;
      ask("having", { run: this.id, ops: ops.join(), words: words.join() }).then(({ count, numbers }) => {
        held.may = new Uint8Array(count);
        for (const n of numbers) held.may[n] = 1;
        then();
      }, (error) => { held.error = error.message; then(); });
    }
    return this.held;
  }

  /** The equations of some cells, best first: a few by their numbers, many in the pieces that the server keeps; `step` is told of each piece. */
  readTexts(numbers, step) {
    const missing = numbers.filter((n) => this.trials.texts[n] === undefined);
    this.texter = step;
    this.texting ??= (async () => {
      try {
        const few = missing.length * 4 < this.trials.count ? missing : missing.slice(0, FIRST), wanted = [];
        for (let k = 0; k < few.length; k += 200) wanted.push(() => this.textsOf(few.slice(k, k + 200)));
        if (few !== missing) for (let k = 0; k * CHUNK < this.trials.count; k++) wanted.push(() => this.chunk(k));
        const some = async () => { while (wanted.length) { await wanted.shift()(); this.texter(); } };
        await Promise.all([some(), some()]);
      } finally { this.texting = null; }
    })();
    return this.texting;
  }

  async chunk(k) {
    const last = Math.min((k + 1) * CHUNK, this.trials.count);
    let missing = false;
    for (let n = k * CHUNK; n < last && !missing; n++) missing = this.trials.texts[n] === undefined;
    if (!missing) return;
    const { start, texts } = await ask("chunk", { run: this.id, start: k * CHUNK });
    texts.forEach((found, j) => this.put(start + j, found));
    this.trials.orders.delete("nodes");
    this.trials.orders.delete("macs");
  }
}

/** Changes as they come, for all runs. */
export function follow(runs, found, state) {
  const source = new EventSource("/api/events");
  let lost = false;
  source.addEventListener("change", (event) => {
    const said = JSON.parse(event.data);
    const run = runs.get(said.run);
    if (run) run.hear(said);
  });
  source.addEventListener("runs", (event) => found(JSON.parse(event.data)));
  source.addEventListener("again", () => { for (const run of runs.values()) if (run.trials.whole) run.again(); });
  source.addEventListener("error", () => { lost = true; state(false); });
  source.addEventListener("open", () => {
    state(true);
    if (lost) for (const run of runs.values()) if (run.trials.whole) run.again();
    lost = false;
  });
}
