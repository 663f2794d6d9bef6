"use strict";
// Tables: a click (or Enter) on a heading sorts; a long table begins with its first rows.
const MORE = 500; // rows at a time
const number = (count) => count.toLocaleString("en");

class Table {
  constructor(element) {
    this.element = element;
    this.body = element.tBodies[0];
    const rest = this.body.querySelector("template");
    this.rows = [...this.body.rows, ...(rest ? rest.content.querySelectorAll("tr") : [])];
    this.limit = this.first = this.body.rows.length;
    this.chosen = this.rows;
    rest?.remove();
    if (rest) this.addMore();
    element.querySelectorAll("thead th").forEach((th, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener("click", () => this.sort(th, i));
    });
  }

  addMore() {
    this.more = document.createElement("button");
    this.more.type = "button";
    this.more.className = "more";
    this.element.parentElement.after(this.more);
    this.more.addEventListener("click", () => {
      this.limit += MORE;
      this.show();
      if (this.more.hidden) this.element.parentElement.focus(); // the keyboard stays where it was
    });
    this.tell();
  }

  // Show those rows that `isChosen` keeps, as many as the table is open for.
  filter(isChosen) {
    this.isChosen = isChosen;
    this.limit = this.first;
    this.show();
  }

  show() {
    this.chosen = this.isChosen ? this.rows.filter(this.isChosen) : this.rows;
    this.body.replaceChildren(...this.chosen.slice(0, this.limit));
    this.tell();
  }

  tell() {
    if (!this.more) return;
    const left = this.chosen.length - this.limit;
    this.more.hidden = left <= 0;
    this.more.textContent =
      `Show ${number(Math.min(left, MORE))} more of ${number(this.chosen.length)} rows`;
  }

  sort(th, column) {
    const sign = th.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    this.element.querySelectorAll("th[aria-sort]").forEach((o) => o.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const isNumber = th.classList.contains("num");
    const keyed = this.rows.map((row) => {
      const cell = row.cells[column];
      const text = cell.dataset.v ?? cell.textContent.trim();
      return { row, key: text === "" ? null : isNumber ? Number(text) : text };
    });
    const order = isNumber ? (a, b) => a - b : new Intl.Collator(undefined, { numeric: true }).compare;
    keyed.sort((a, b) => { // what is missing comes last, whichever way
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * order(a.key, b.key);
    });
    this.rows = keyed.map(({ row }) => row);
    this.show();
  }
}

const tables = [...document.querySelectorAll("table.sortable")].map((table) => new Table(table));
