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
    let n = 0;
    for (const { headings, rows } of runs(table)) {
      const above = headings.map(({ row }) => row.textContent).join(" ");
      for (const row of rows) {
        const isIn = `${above} ${row.textContent}`.toLowerCase().includes(asked);
        row.classList.toggle("out", !isIn);
        n += isIn;
      }
    }
    tidy(table);
    return n;
  }

  /** Put a field before a table that filters it. */
  function addFilter(table) {
    const input = make("input", { type: "search", autocomplete: "off" });
    const status = make("output", {});
    table.before(make("p", { className: "tools" }, make("label", {}, "Filter rows ", input), " ", status));
    input.addEventListener("input", () => {
      const asked = input.value.trim().toLowerCase();
      const n = mark(table, asked);
      status.textContent = asked ? `${n} of ${count(table)} rows` : "";
    });
  }

  /** Return how many rows of a table can be sorted and filtered. */
  function count(table) {
    return runs(table).reduce((sum, { rows }) => sum + rows.length, 0);
  }

  /** Return the words of an element as they stand on the page, without what only a screen reader says. */
  function words(element) {
    const copy = element.cloneNode(true);
    for (const each of copy.querySelectorAll(".unseen, .narrow, .sort, sup, .baselines, .swatch")) each.remove();
    return copy.textContent.replace(/\s+/g, " ").trim();
  }

  /** Return the rows that are shown of the table of all metrics, with its head, as lists of words. */
  function shown(table) {
    const isMany = table.matches(".many");
    const [, , , interval] = [...table.tHead.rows[0].cells].map(words);
    const head = ["Evaluation", "Metric", "Name", ...(isMany ? ["Model"] : []), "Value", "Unit", interval, "Chance", "n"];
    const rows = [];
    for (const { headings, rows: own } of runs(table)) {
      const block = headings.find(({ row }) => row.matches(".block"))?.row;
      const above = headings.find(({ row }) => row.matches(".metric"))?.row;
      for (const row of own.filter((each) => each.matches(".line") && each.checkVisibility())) {
        const [name, value, axis, ...rest] = row.cells;
        const metric = (above ?? row).cells[0];
        const numbers = rest.length ? [words(value), words(axis) || "%", ...rest.map(words)] : ["", "", "", "", ""];
        rows.push([
          block ? words(block) : "", words(metric.querySelector(".words")), words(metric.querySelector("code") ?? metric),
          ...(isMany ? [words(name)] : []), ...numbers,
        ]);
      }
    }
    return [head, ...rows];
  }

  const FORMATS = {
    Markdown: ([head, ...rows]) => [head, head.map(() => "---"), ...rows]
      .map((row) => `| ${row.map((each) => each.replaceAll("|", "\\|")).join(" | ")} |`).join("\n"),
    CSV: (rows) => rows.map((row) => row.map((each) => `"${each.replaceAll('"', '""')}"`).join(",")).join("\n"),
  };

  /** Put text on the clipboard, also where the page may not ask for it. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  function addCopying(table) {
    const tools = table.previousElementSibling?.matches(".tools") ? table.previousElementSibling : make("p", { className: "tools" });
    const said = make("output", {});
    for (const [name, format] of Object.entries(FORMATS)) {
      const button = make("button", { type: "button" }, `Copy as ${name}`);
      button.addEventListener("click", async () => {
        const rows = shown(table);
        await copy(format(rows));
        said.textContent = `${rows.length - 1} rows copied`;
      });
      tools.append(button);
    }
    tools.append(said);
    if (!tools.isConnected) table.before(tools);
  }

  /** Sort every table, and filter the long ones. */
  function addTableTools() {
    for (const table of document.querySelectorAll("table:not(.heads)")) {
      if (runs(table).some(({ rows }) => rows.length > 1)) addSorting(table);
      if (count(table) >= MIN_FILTERED && !table.matches(".board")) addFilter(table);
      if (table.dataset.tools === "metrics") addCopying(table);
    }
  }

  document.addEventListener("DOMContentLoaded", addTableTools);
  document.addEventListener("models", () => document.querySelectorAll("table.card").forEach(tidy));
}
