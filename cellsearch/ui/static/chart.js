// Curves and clouds of points on a canvas: axes, legend, a reading under the pointer, zoom.
import { h, num, colour, calm } from "./base.js";

const INKS = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"];
export const ink = (k) => INKS[k % INKS.length];

/** Round numbers between two bounds. */
export function ticks(low, high, most) {
  const raw = (high - low) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw) || power * 10;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Math.abs(k * step) < step * 1e-9 ? 0 : k * step);
  return found;
}

function powers(low, high) {
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    for (const one of high / low > 300 ? [1] : [1, 2, 5]) {
      const value = one * 10 ** e;
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found;
}

export function short(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${+(value / 1e9).toPrecision(3)}G`;
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  if (size && size < 1e-3) return value.toExponential(1);
  return String(+value.toPrecision(5));
}

/**
 * A chart in an element.
 *
 * set({x, y, series}): x, y: {label, log, text, low, high}. A series: {x, y, kind: "line", "steps"
 * or "dots", ink, name, dash, width, radius, alpha, text(k), open(k), end: a text at its end}.
 */
export class Chart {
  constructor({ height = 280, label = "chart" } = {}) {
    this.height = height;
    this.canvas = h("canvas", { role: "img", "aria-label": label });
    this.tip = h("div", { class: "tip", hidden: true });
    this.legend = h("div", { class: "legend" });
    this.root = h("div", { class: "chart" }, this.legend, h("div", { class: "canvas" }, this.canvas, this.tip));
    this.hidden = new Set();
    this.zoom = null;
    this.parts = { x: {}, y: {}, series: [] };
    this.draw = calm(() => this.paint());
    new ResizeObserver(this.draw).observe(this.root);
    window.addEventListener("themed", this.draw);
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerleave", () => { this.point = null; this.tip.hidden = true; this.draw(); });
    this.canvas.addEventListener("pointerdown", (event) => { this.drag = this.place(event); });
    this.canvas.addEventListener("pointerup", (event) => this.drop(event));
    this.canvas.addEventListener("dblclick", () => { this.zoom = null; this.draw(); });
  }

  set(parts) {
    // A line through one point would be invisible.
    this.parts = { ...parts, series: parts.series.map((one) => (one.kind === "line" && one.x.length === 1 ? { ...one, kind: "dots", radius: 4 } : one)) };
    const names = parts.series.filter((one) => one.name);
    const key = names.map((one) => one.name + one.ink).join("\n");
    if (key !== this.key) {
      this.key = key;
      this.legend.replaceChildren(...(parts.keys !== false && names.length > 1 && names.length < 40 ? names.map((one) => this.switch(one)) : []));
    }
    if (parts.said) this.canvas.setAttribute("aria-label", parts.said);
    this.draw();
  }

  switch(one) {
    const button = h("button", { type: "button", "aria-pressed": "true", class: `key ${one.kind === "dots" ? "dot" : one.dash ? "dashed" : ""} ink-${one.ink}` }, h("i"), one.name);
    button.addEventListener("click", () => {
      if (!this.hidden.delete(one.name)) this.hidden.add(one.name);
      button.setAttribute("aria-pressed", String(!this.hidden.has(one.name)));
      this.draw();
    });
    return button;
  }

  get shown() { return this.parts.series.filter((one) => !this.hidden.has(one.name) && one.x.length); }

  bounds() {
    const found = { x: [Infinity, -Infinity], y: [Infinity, -Infinity] };
    for (const one of this.shown) {
      for (const axis of ["x", "y"]) {
        const values = one[axis], log = this.parts[axis].log;
        for (let k = 0; k < values.length; k++) {
          const value = values[k];
          if (!Number.isFinite(value) || (log && value <= 0)) continue;
          if (value < found[axis][0]) found[axis][0] = value;
          if (value > found[axis][1]) found[axis][1] = value;
        }
      }
    }
    for (const axis of ["x", "y"]) {
      const { low, high, log } = this.parts[axis];
      if (low !== undefined) found[axis][0] = low;
      if (high !== undefined && high < found[axis][1]) found[axis][1] = high;
      let [a, b] = found[axis];
      if (!(a <= b)) [a, b] = log ? [1, 10] : [0, 1];
      if (a === b) { const gap = Math.abs(a) * 0.05 || 0.5; a -= log ? a / 2 : gap; b += gap; }
      if (log) { const gap = (b / a) ** 0.04; found[axis] = [a / gap, b * gap]; }
      else { const gap = axis === "x" && !this.parts.x.pad ? 0 : (b - a) * 0.05; found[axis] = [a - gap, b + gap]; }
    }
    return this.zoom || found;
  }

  paint() {
    const width = this.root.clientWidth, height = this.height;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1, { canvas } = this;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
    const bounds = this.bounds(), { x, y } = this.parts;
    const ys = y.log ? powers(...bounds.y) : ticks(...bounds.y, Math.max(2, height / 54));
    const text = (axis, value) => (axis.text ? axis.text(value) : short(value));
    const left = Math.max(30, ...ys.map((value) => c.measureText(text(y, value)).width)) + 12;
    const room = Math.max(14, ...this.shown.filter((one) => one.end).map((one) => Math.min(110, c.measureText(one.end).width + 12)));
    const box = { left, top: 22, right: width - room, bottom: height - 38 };
    const scale = (axis, low, high, from, to) => {
      const f = axis.log ? Math.log10 : (v) => v;
      const a = f(low), b = f(high);
      return (value) => from + ((f(value) - a) / (b - a)) * (to - from);
    };
    const px = scale(x, ...bounds.x, box.left, box.right), py = scale(y, ...bounds.y, box.bottom, box.top);
    Object.assign(this, { box, px, py, at: bounds });
    const soft = colour("soft"), rule = colour("rule"), strong = colour("ink");
    c.lineWidth = 1;
    c.textBaseline = "middle";
    for (const value of ys) {
      const at = Math.round(py(value)) + 0.5;
      c.strokeStyle = rule;
      c.beginPath(); c.moveTo(box.left, at); c.lineTo(box.right, at); c.stroke();
      c.fillStyle = soft; c.textAlign = "right"; c.fillText(text(y, value), box.left - 8, at);
    }
    const xs = x.log ? powers(...bounds.x) : ticks(...bounds.x, Math.max(2, (box.right - box.left) / 92));
    c.textAlign = "center";
    for (const value of xs) {
      const at = Math.round(px(value)) + 0.5;
      c.strokeStyle = rule;
      c.beginPath(); c.moveTo(at, box.bottom); c.lineTo(at, box.bottom + 4); c.stroke();
      c.fillStyle = soft; c.fillText(text(x, value), Math.min(at, width - 16), box.bottom + 14);
    }
    c.fillStyle = soft;
    c.textAlign = "right"; c.fillText(x.label || "", box.right, height - 7);
    c.textAlign = "left"; c.fillText(y.label || "", 2, 8);
    c.save();
    c.beginPath(); c.rect(box.left - 6, box.top - 6, box.right - box.left + 12, box.bottom - box.top + 12); c.clip();
    for (const one of this.shown) if (one.kind === "dots") this.dots(c, one); else this.line(c, one);
    c.restore();
    this.ends(c);
    this.mark(c, strong);
  }

  line(c, one) {
    c.strokeStyle = colour(one.ink); c.globalAlpha = one.alpha ?? 1;
    c.lineWidth = one.width || 2; c.lineJoin = "round";
    c.setLineDash(one.dash || []);
    c.beginPath();
    let open = false, before = 0;
    for (let k = 0; k < one.x.length; k++) {
      const value = one.y[k];
      if (!Number.isFinite(value)) { open = false; continue; }
      const at = this.px(one.x[k]), up = this.py(value);
      if (!open) c.moveTo(at, up);
      else if (one.kind === "steps") { c.lineTo(at, before); c.lineTo(at, up); }
      else c.lineTo(at, up);
      open = true; before = up;
    }
    c.stroke();
    c.setLineDash([]); c.globalAlpha = 1;
  }

  dots(c, one) {
    c.fillStyle = colour(one.ink); c.globalAlpha = one.alpha ?? 0.6;
    const radius = one.radius || 3, many = one.x.length > 4000, spots = new Set();
    if (!many) c.beginPath();
    for (let k = 0; k < one.x.length; k++) {
      const value = one.y[k], side = one.x[k];
      if (!(value >= this.at.y[0] && value <= this.at.y[1] && side >= this.at.x[0] && side <= this.at.x[1])) continue;
      const at = this.px(side), up = this.py(value);
      if (many) {
        const spot = Math.round(at) * 4096 + Math.round(up);
        if (spots.has(spot)) continue;
        spots.add(spot);
        c.fillRect(at - radius / 2, up - radius / 2, radius, radius);
      } else { c.moveTo(at + radius, up); c.arc(at, up, radius, 0, 7); }
    }
    if (!many) c.fill();
    c.globalAlpha = 1;
  }

  /** The names at the ends of lines, moved apart where they would overlap. */
  ends(c) {
    const named = this.shown.filter((one) => one.end).map((one) => ({ one, at: this.py(one.y[one.y.length - 1]) })).filter(({ at }) => at > this.box.top - 8 && at < this.box.bottom + 8).sort((a, b) => a.at - b.at);
    c.textAlign = "left";
    const places = named.map(({ at }) => at);
    for (let k = 1; k < places.length; k++) places[k] = Math.max(places[k], places[k - 1] + 14);
    let limit = this.box.bottom + 4;
    for (let k = places.length - 1; k >= 0; k--) { places[k] = Math.min(places[k], limit); limit = places[k] - 14; }
    named.forEach(({ one }, k) => { c.fillStyle = colour(one.ink); c.fillText(one.end.slice(0, 18), this.box.right + 7, places[k]); });
  }

  mark(c, strong) {
    if (this.drag && this.point) {
      c.fillStyle = colour("accent"); c.globalAlpha = 0.15;
      c.fillRect(this.drag.x, this.drag.y, this.point.x - this.drag.x, this.point.y - this.drag.y);
      c.globalAlpha = 1;
    }
    if (!this.near) return;
    c.strokeStyle = strong; c.lineWidth = 1.5;
    c.beginPath(); c.arc(this.near.x, this.near.y, 5.5, 0, 7); c.stroke();
  }

  place(event) { const box = this.canvas.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; }

  move(event) {
    if (!this.px) return;
    this.point = this.place(event);
    let best = 900;
    this.near = null;
    for (const one of this.shown) {
      for (let k = 0; k < one.x.length; k++) {
        const x = this.px(one.x[k]) - this.point.x;
        if (x > 30 || x < -30) continue;
        const y = this.py(one.y[k]) - this.point.y, far = x * x + y * y - (one.front ? 30 : 0);
        if (far < best) { best = far; this.near = { one, k, x: x + this.point.x, y: y + this.point.y }; }
      }
    }
    this.tip.hidden = !this.near;
    if (this.near) {
      const { one, k } = this.near, text = one.text ? one.text(k) : [one.name || "", `${short(one.x[k])}: ${num(one.y[k])}`];
      this.tip.replaceChildren(...[].concat(text).map((line, place) => h(place ? "span" : "b", {}, line)));
      const width = this.root.clientWidth, flip = this.near.x > width / 2;
      this.tip.style.left = flip ? "" : `${this.near.x + 14}px`;
      this.tip.style.right = flip ? `${width - this.near.x + 14}px` : "";
      this.tip.style.top = `${Math.max(0, this.near.y - 12)}px`;
    }
    this.canvas.style.cursor = this.near && this.near.one.open ? "pointer" : "crosshair";
    this.draw();
  }

  drop(event) {
    const from = this.drag, to = this.place(event);
    this.drag = null;
    if (!from || !this.box) return;
    if (Math.abs(from.x - to.x) < 8 && Math.abs(from.y - to.y) < 8) {
      if (this.near && this.near.one.open) this.near.one.open(this.near.k);
      return;
    }
    const back = (axis, bounds, a, b) => (pixel) => {
      const share = (pixel - a) / (b - a), [low, high] = bounds;
      return axis.log ? low * (high / low) ** share : low + share * (high - low);
    };
    const bx = back(this.parts.x, this.at.x, this.box.left, this.box.right), by = back(this.parts.y, this.at.y, this.box.bottom, this.box.top);
    this.zoom = { x: [bx(Math.min(from.x, to.x)), bx(Math.max(from.x, to.x))], y: [by(Math.max(from.y, to.y)), by(Math.min(from.y, to.y))] };
    this.draw();
  }
}
