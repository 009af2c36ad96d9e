// Tables: rows that are sorted and filtered stand in runs under headings, which stay where they are.

{
  const MIN_FILTERED = 12; // rows of a table that gets a filter
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

  document.addEventListener("DOMContentLoaded", addTableTools);
  document.addEventListener("models", () => document.querySelectorAll("table.card").forEach(tidy));
}
