// A table of any number of rows, of which only those in sight are there; and a small plain one.
import { h, calm } from "./base.js";

const HEIGHT = 34;

/**
 * columns: [{name, title, note, width, right, cell(row), sort}]; rows are numbers.
 * on: {open(row), sort(name)}.
 */
export class Rows {
  constructor({ columns, label, open, sort, mark }) {
    Object.assign(this, { open, sort, mark, rows: [], at: 0, label });
    this.head = h("div", { class: "row head", role: "row" });
    this.body = h("div", { class: "body", role: "rowgroup" });
    this.scroll = h("div", { class: "rows", role: "table", "aria-label": label, tabindex: "0" }, h("div", { role: "rowgroup", class: "headgroup" }, this.head), this.body);
    this.pool = [];
    this.paint = calm(() => this.draw());
    this.scroll.addEventListener("scroll", () => this.draw(), { passive: true });
    this.scroll.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(this.paint).observe(this.scroll);
    this.setColumns(columns);
  }

  setColumns(columns) {
    this.columns = columns;
    this.widths = columns.map((one) => one.width).join(" ");
    this.least = columns.reduce((sum, one) => sum + parseInt(one.width.replace("minmax(", ""), 10) + 10, 20);
    this.pool = [];
    this.body.replaceChildren();
  }

  set(rows, order, down) {
    this.rows = rows;
    this.scroll.setAttribute("aria-rowcount", rows.length + 1);
    this.body.style.height = `${Math.max(1, rows.length) * HEIGHT}px`;
    this.at = Math.min(this.at, Math.max(0, rows.length - 1));
    this.head.style.gridTemplateColumns = this.widths;
    this.head.parentElement.style.minWidth = this.body.style.minWidth = `${this.least}px`;
    this.head.replaceChildren(...this.columns.map((one) => {
      const now = one.sort === order;
      const cell = h("div", { role: "columnheader", class: one.right ? "right" : "" });
      if (one.sort) cell.setAttribute("aria-sort", now ? (down ? "descending" : "ascending") : "none");
      cell.append(one.sort ? h("button", { type: "button", title: `Sort by ${one.title}`, onclick: () => this.sort(one.sort) }, one.title, h("i", { "aria-hidden": "true" }, now ? (down ? " ▾" : " ▴") : "")) : one.title, ...(one.note ? [h("small", {}, one.note)] : []));
      return cell;
    }));
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / HEIGHT) - 4);
    const count = Math.min(this.rows.length - first, Math.ceil(this.scroll.clientHeight / HEIGHT) + 9);
    while (this.pool.length < count) {
      const row = h("div", { class: "row", role: "row" });
      row.style.gridTemplateColumns = this.widths;
      row.cells = this.columns.map((one) => row.appendChild(h("div", { role: "cell", class: one.right ? "right" : "" })));
      row.addEventListener("click", (event) => { if (!event.target.closest("a")) this.choose(row.place, true); });
      this.pool.push(row);
      this.body.append(row);
    }
    this.pool.forEach((row, k) => {
      const place = first + k;
      row.hidden = k >= count;
      if (row.hidden) return;
      row.place = place;
      row.style.transform = `translateY(${place * HEIGHT}px)`;
      row.setAttribute("aria-rowindex", place + 2);
      const n = this.rows[place];
      row.className = `row ${this.mark ? this.mark(n) : ""} ${place === this.at && this.walked ? "here" : ""}`;
      this.columns.forEach((one, c) => {
        const made = one.cell(n, place);
        if (typeof made === "string") { if (row.cells[c].textContent !== made || row.cells[c].firstElementChild) row.cells[c].textContent = made; }
        else row.cells[c].replaceChildren(made);
      });
    });
    if (this.seen) this.seen(Array.from(this.rows.slice(first, first + count)));
  }

  choose(place, open) {
    if (place < 0 || place >= this.rows.length) return;
    this.at = place;
    this.walked = true;
    const up = place * HEIGHT, seen = this.scroll.scrollTop, room = this.scroll.clientHeight - this.head.offsetHeight - HEIGHT;
    if (up < seen) this.scroll.scrollTop = up;
    else if (up > seen + room) this.scroll.scrollTop = up - room;
    this.draw();
    if (open) this.open(this.rows[place]);
  }

  key(event) {
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 15, PageUp: -15, Home: -1e9, End: 1e9 };
    if (event.key === "Enter" && event.target === this.scroll) this.choose(this.at, true);
    else if (event.key in steps && !event.ctrlKey && !event.metaKey) this.choose(Math.max(0, Math.min(this.rows.length - 1, this.at + steps[event.key])), false);
    else return;
    event.preventDefault();
  }
}

/** A table of a few rows. columns: [title, right]; rows: texts or elements. */
export function small(columns, rows, { label = "", classes = [], tall = false } = {}) {
  const line = (cells, tag, css) => h("tr", { class: css }, cells.map((cell, k) => h(tag, { class: columns[k][1] ? "right" : "", scope: tag === "th" ? "col" : undefined }, cell)));
  return h("div", { class: `small ${tall ? "tall" : ""}`, tabindex: "0", role: "region", "aria-label": label || "table" },
    h("table", {}, h("thead", {}, line(columns.map(([title]) => title), "th")), h("tbody", {}, rows.map((row, k) => line(row, "td", classes[k])))));
}
