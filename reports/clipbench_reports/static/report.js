// What the page can do beyond being read: sort and filter tables, show and hide models, switch between light and dark,
// and tell what a point of a scatter is. Everything is there to read without it.
"use strict";

(() => {
  const MIN_FILTERED = 12; // rows of a table that gets a filter
  const REACH = 14; // how near to a point, in pixels of the page, the pointer has to be

  /** Return an element. Words become text, never markup. */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  /* Light and dark */

  const THEME = "clipbench-theme"; // under which a browser that keeps anything for a page keeps the choice
  const root = document.documentElement;
  const asked = matchMedia("(prefers-color-scheme: dark)");

  /** Return "light" or "dark" where the reader chose one; a file's page may be refused the memory. */
  function chosen() {
    try {
      const theme = localStorage.getItem(THEME);
      return ["light", "dark"].includes(theme) ? theme : null;
    } catch {
      return null;
    }
  }

  /** Show a theme and remember it; the one that the system has is no choice, and is followed from then on. */
  function choose(theme) {
    const isOwn = theme !== (asked.matches ? "dark" : "light");
    if (isOwn) root.dataset.theme = theme;
    else delete root.dataset.theme;
    try {
      if (isOwn) localStorage.setItem(THEME, theme);
      else localStorage.removeItem(THEME);
    } catch { /* it holds for this page alone */ }
  }

  function addSwitch() {
    const isDark = () => (root.dataset.theme ?? (asked.matches ? "dark" : "light")) === "dark";
    const button = make("button", { type: "button", className: "switch" });
    const say = () => { button.textContent = isDark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => { choose(isDark() ? "light" : "dark"); say(); });
    asked.addEventListener("change", say);
    button.setAttribute("aria-describedby", "switch");
    const hint = make("span", { id: "switch", hidden: true }, "Switches the colours of the page");
    document.querySelector(".brand > :last-child").append(button, hint);
    say();
  }

  /* Tables: rows that are sorted and filtered stand in runs under headings, which stay where they are */

  const LEVELS = ["block", "subset", "metric"]; // classes of headings, each of which ends those after it
  const HEADINGS = LEVELS.map((level) => `.${level}`).join();

  /** Return the runs of rows of a table, each with the headings above it. */
  function runs(table) {
    const found = [];
    for (const body of table.tBodies) {
      let headings = [], run = null;
      for (const row of body.rows) {
        const level = LEVELS.findIndex((name) => row.classList.contains(name)); // a row that is out has one class more
        if (level >= 0) {
          headings = [...headings.filter((above) => above.level < level), { level, row }];
          run = null;
        } else {
          if (!run) found.push((run = { headings, rows: [] }));
          run.rows.push(row);
        }
      }
    }
    return found;
  }

  /** Return what a cell is sorted by: a number, or words; nothing where there is none. */
  function key(row, column, isNumber) {
    const cell = row.cells[column];
    if (!cell || cell.colSpan > 1) return null;
    const words = (cell.dataset.sort ?? cell.textContent).trim();
    if (!isNumber) return words;
    const value = parseFloat(words.replaceAll(",", "").replaceAll("\u2212", "-"));
    return Number.isNaN(value) ? null : value;
  }

  /** Sort the rows of every run; what has no value comes last, and equals stay in the order of the page. */
  function sort(table, column, sign, places) {
    const isNumber = table.tHead.rows[0].cells[column].matches(".number");
    const compare = (a, b) => (isNumber ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    const order = (one, other) => {
      const [a, b] = [key(one, column, isNumber), key(other, column, isNumber)];
      const asBefore = places.get(one) - places.get(other);
      if (sign === 0 || a === b) return asBefore;
      if (a === null || b === null) return a === null ? 1 : -1;
      return sign * compare(a, b) || asBefore;
    };
    for (const { rows } of runs(table)) {
      const [parent, next] = [rows[0].parentNode, rows.at(-1).nextElementSibling];
      for (const row of rows.sort(order)) parent.insertBefore(row, next);
    }
  }

  function addSorting(table) {
    const places = new Map([...table.rows].map((row, place) => [row, place]));
    const turns = { none: ["ascending", 1], ascending: ["descending", -1], descending: ["none", 0] };
    const heads = [...table.tHead.rows[0].cells];
    for (const [column, head] of heads.entries()) {
      if (head.matches(".axis")) continue;
      const button = make("button", { type: "button", className: "sort" });
      button.setAttribute("aria-label", `Sort by ${head.textContent.trim()}`);
      head.setAttribute("aria-sort", "none");
      head.replaceChildren(make("span", { className: "label" }, ...head.childNodes), button);
      button.addEventListener("click", () => {
        const [now, sign] = turns[head.getAttribute("aria-sort")];
        for (const each of heads) if (each.ariaSort) each.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", now);
        sort(table, column, sign, places);
      });
    }
  }

  /** Hide the headings under which nothing is left. */
  function tidy(table) {
    const kept = new Set();
    for (const { headings, rows } of runs(table)) {
      if (rows.some((row) => !row.hidden && !row.matches(".out"))) headings.forEach(({ row }) => kept.add(row));
    }
    for (const row of table.querySelectorAll(HEADINGS)) row.classList.toggle("out", !kept.has(row));
  }

  /** Mark the rows of a table that hold what is asked for; return how many do. */
  function mark(table, asked) {
    const part = table.closest("[data-part]"); // a table with its heading and its figure, which go with it
    const title = part ? part.firstElementChild.textContent : "";
    let n = 0;
    for (const { headings, rows } of runs(table)) {
      const above = [title, ...headings.map(({ row }) => row.textContent)].join(" ");
      for (const row of rows) {
        const isIn = `${above} ${row.textContent}`.toLowerCase().includes(asked);
        row.classList.toggle("out", !isIn);
        n += isIn;
      }
    }
    tidy(table);
    part?.classList.toggle("out", n === 0);
    return n;
  }

  /** Put a field before an element that filters some tables. */
  function addFilter(tables, place, words) {
    const input = make("input", { type: "search", autocomplete: "off" });
    const status = make("output", {});
    place.before(make("p", { className: "tools" }, make("label", {}, `${words} `, input), " ", status));
    input.addEventListener("input", () => {
      const asked = input.value.trim().toLowerCase();
      const n = tables.reduce((sum, table) => sum + mark(table, asked), 0);
      status.textContent = asked ? `${n} of ${tables.reduce((sum, table) => sum + count(table), 0)} rows` : "";
    });
  }

  /** Return how many rows of a table can be sorted and filtered. */
  function count(table) {
    return runs(table).reduce((sum, { rows }) => sum + rows.length, 0);
  }

  /** Sort every table; filter the long ones each by itself, but those of a group by one field. */
  function addTableTools() {
    const grouped = new Set();
    for (const group of document.querySelectorAll("[data-filter]")) {
      const tables = [...group.querySelectorAll("table")];
      tables.forEach((table) => grouped.add(table));
      if (tables.length) addFilter(tables, group, group.dataset.filter);
    }
    for (const table of document.querySelectorAll("table")) {
      if (runs(table).some(({ rows }) => rows.length > 1)) addSorting(table);
      if (!grouped.has(table) && count(table) >= MIN_FILTERED) addFilter([table], table, "Filter rows");
    }
  }

  /* Several models */

  function addPicker() {
    const list = document.querySelector(".models[data-picker]");
    if (!list) return;
    const boxes = [...list.children].map((item, place) => {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        const mine = document.querySelectorAll(`section [data-model="${place}"]`);
        for (const each of mine) each.toggleAttribute("hidden", !box.checked); // parts of images have no property for it
        document.querySelectorAll("table.card").forEach(tidy);
      });
      return make("label", {}, box, item.querySelector(".swatch").cloneNode(), item.querySelector("b").cloneNode(true));
    });
    const legend = make("legend", {}, "Show in every table, figure and section");
    list.after(make("fieldset", { className: "picker" }, legend, ...boxes));
  }

  /* Points of a scatter */

  /** Return the points of a path that has a dot at each: "M1 2h.1M3 4h.1". */
  function points(path) {
    return [...path.getAttribute("d").matchAll(/M([-\d.]+) ([-\d.]+)h\.1/g)].map(([, x, y]) => [Number(x), Number(y)]);
  }

  /** Return the place of the point that is nearest to an event, or -1 where none is near. */
  function nearest(svg, found, event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const reach = REACH / svg.getScreenCTM().a;
    const far = found.map(([x, y]) => Math.hypot(x - at.x, y - at.y));
    const place = far.indexOf(Math.min(...far));
    return far[place] <= reach ? place : -1;
  }

  function addPointing() {
    for (const template of document.querySelectorAll("template.points")) {
      const figure = template.closest("figure");
      const { model } = template.dataset;
      const svg = figure.querySelector(model === undefined ? "svg" : `[data-model="${model}"] svg`);
      const [samples, all] = [template.content.children, [...svg.querySelectorAll("path.specks")].flatMap(points)];
      if (all.length === 0 || all.length % samples.length !== 0) continue; // a point was left out: which is not known
      const shown = make("div", { className: "pointed", hidden: true });
      figure.append(shown);
      svg.addEventListener("pointermove", (event) => {
        const place = nearest(svg, all, event);
        shown.hidden = place < 0;
        if (place < 0) return;
        const frame = figure.getBoundingClientRect();
        shown.replaceChildren(samples[place % samples.length].cloneNode(true));
        shown.style.left = `${Math.min(event.clientX - frame.left + 12, frame.width - shown.offsetWidth)}px`;
        shown.style.top = `${event.clientY - frame.top + 12}px`;
      });
      svg.addEventListener("pointerleave", () => { shown.hidden = true; });
    }
  }

  if (chosen()) root.dataset.theme = chosen(); // before anything is painted: the script stands in the head
  document.addEventListener("DOMContentLoaded", () => {
    addSwitch();
    addTableTools();
    addPicker();
    addPointing();
  });
})();
