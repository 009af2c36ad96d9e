// Pages work without this script. With it a form is answered as one types, new runs appear, and rows are chosen by keys.
"use strict";

const root = document.documentElement;
root.classList.add("js");
const chosen = new Map(); // id of a run: its label and time, in the order of choice
let asked = 0;
let waiting = 0; // questions on their way

async function swap(address, { isNew = true } = {}) {
  const number = ++asked;
  waiting += 1;
  const answer = fetch(address, { credentials: "same-origin" }).then((each) => each.text());
  const text = await answer.finally(() => { waiting -= 1; });
  const page = new DOMParser().parseFromString(text, "text/html");
  const [old, made] = [document, page].map((each) => each.getElementById("results"));
  if (number !== asked) return; // a later question is on its way
  if (!made) {
    location.assign(address);
    return;
  }
  const focused = document.activeElement?.closest("#results") && place(document.activeElement);
  old.replaceWith(document.adoptNode(made));
  for (const label of page.querySelectorAll(".shows small")) {
    const value = label.parentElement.querySelector("input").value;
    const own = document.querySelector(`.shows input[value="${CSS.escape(value)}"]`);
    if (own) own.parentElement.querySelector("small").textContent = label.textContent;
  }
  for (const box of document.querySelectorAll("[data-unasked] input")) {
    box.checked = page.querySelector(`[data-unasked] input[value="${CSS.escape(box.value)}"]`)?.checked ?? box.checked;
  }
  if (isNew) history.replaceState(null, "", address);
  mark();
  showMarks();
  if (focused) [...made.querySelectorAll("a, input")].find((each) => place(each) === focused)?.focus();
}

const place = (each) => each.getAttribute("href") ?? each.value;

function query(form) {
  const isUnasked = form.querySelector("[data-unasked]"); // columns that nobody chose follow the rows
  const pairs = [...new FormData(form)].filter(([name, value]) => (value !== "" || name === "q") && !(isUnasked && name === "column"));
  return `${new URL(form.action).pathname}?${new URLSearchParams(pairs)}`;
}

for (const form of document.querySelectorAll("form[data-live]")) {
  let timer;
  const ask = (event) => {
    if (event.target.closest("[data-reload]")) return;
    event.target.closest("[data-unasked]")?.removeAttribute("data-unasked");
    clearTimeout(timer);
    timer = setTimeout(() => swap(query(form)), event.type === "input" && event.target.type === "search" ? 150 : 0);
  };
  form.addEventListener("input", ask);
  form.addEventListener("submit", (event) => { event.preventDefault(); swap(query(form)); });
  const isChanged = (each) => each.value !== each.defaultValue || each.checked !== each.defaultChecked;
  if ([...form.querySelectorAll("input")].some(isChanged)) swap(query(form)); // typed before this script had come, or kept by the browser
}
for (const select of document.querySelectorAll("select[data-reload]")) {
  select.addEventListener("change", () => location.assign(query(select.form)));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-swap]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const asked = new URL(link.href).searchParams;
  for (const name of ["sort", "order"]) {
    const kept = document.querySelector(`form[data-live] [name="${name}"]`);
    if (kept && asked.has(name)) kept.value = asked.get(name);
  }
  swap(link.href);
  if (link.rel) window.scrollTo(0, 0);
});

// Choosing runs, over several pages

const bar = document.querySelector("[data-bar]");

function mark() {
  if (!bar) return;
  for (const box of document.querySelectorAll('input[name="run"][type="checkbox"]')) box.checked = chosen.has(box.value);
  const [base, told] = [bar.querySelector("select"), bar.querySelector("output")];
  base.replaceChildren(...[...chosen].map(([id, { label }]) => new Option(label, id)));
  const oldest = [...chosen].reduce((a, b) => (b[1].created < a[1].created ? b : a), ["", { created: "~" }])[0];
  base.value = chosen.has(base.dataset.asked) ? base.dataset.asked : oldest;
  base.disabled = chosen.size < 2;
  for (const hidden of bar.querySelectorAll('input[type="hidden"]')) hidden.remove();
  const shown = new Set([...document.querySelectorAll('input[name="run"]')].map((each) => each.value));
  for (const id of chosen.keys()) {
    if (!shown.has(id)) bar.append(Object.assign(document.createElement("input"), { type: "hidden", name: "run", value: id }));
  }
  const [compare, report, samples] = bar.querySelectorAll("button");
  compare.disabled = chosen.size < 2;
  report.disabled = chosen.size < 1;
  samples.disabled = chosen.size < 1 || chosen.size > 2;
  told.textContent = chosen.size ? `${chosen.size} chosen` : "Choose two runs or more";
}

document.addEventListener("change", (event) => {
  const box = event.target;
  if (!bar || box.name !== "run" || box.type !== "checkbox") return;
  if (box.checked) chosen.set(box.value, box.dataset);
  else chosen.delete(box.value);
  mark();
});
if (bar) {
  bar.querySelector("select").addEventListener("change", ({ target }) => { target.dataset.asked = target.value; });
  for (const box of document.querySelectorAll('input[name="run"]:checked')) chosen.set(box.value, box.dataset);
  mark();
  setInterval(look, 3000);
}

async function look() {
  if (document.hidden) return;
  try {
    const { state } = await (await fetch("/state", { credentials: "same-origin" })).json();
    if (waiting) return; // the list must not be asked for anew with the words of before
    if (state !== document.getElementById("results").dataset.version) await swap(location.href, { isNew: false });
  } catch { /* the server has ended: the list stays as it is */ }
}

// Marking samples: the browser keeps the list for this address, and the server knows nothing of it

const MARKS = "clipbench-marks";
const panel = document.querySelector("[data-marked]");
const keyOf = ({ dataset }) => new URL(dataset.href, location).searchParams.getAll("run").concat(dataset.evaluation, dataset.sample).join(" ");

function marks(changed) {
  try {
    if (changed) localStorage.setItem(MARKS, JSON.stringify([...changed]));
    return new Map(JSON.parse(localStorage.getItem(MARKS) ?? "[]"));
  } catch {
    return changed ?? new Map(); // it holds for this page alone
  }
}
let marked = marks();

function toggle(button) {
  marked = marks(); // another tab may have marked some
  const { href, model, evaluation, sample, verdict } = button.dataset;
  if (!marked.delete(keyOf(button))) {
    const facts = (button.closest(".sample") ?? document.querySelector("[data-facts]")).querySelectorAll("dl > div");
    const words = [...facts].map((each) => [each.querySelector("dt").textContent, (each.querySelector("dd").firstElementChild?.matches("bdi") ? each.querySelector("dd") : each.querySelector("dd").firstChild).textContent.trim()]);
    marked.set(keyOf(button), { href, model, evaluation, sample, verdict, words });
  }
  marks(marked);
  showMarks();
}

function showMarks() {
  for (const button of document.querySelectorAll("[data-mark]")) {
    const isMarked = marked.has(keyOf(button));
    button.setAttribute("aria-pressed", isMarked);
    button.textContent = isMarked ? "Marked" : "Mark";
  }
  panel.hidden = !marked.size;
  panel.querySelector("b").textContent = marked.size;
  panel.querySelector("tbody").replaceChildren(...[...marked].map(([key, each]) => {
    const remove = make("button", { type: "button", textContent: "Unmark", ariaLabel: `Unmark ${each.sample}` });
    remove.addEventListener("click", () => { marked.delete(key); marks(marked); showMarks(); });
    const cells = [make("a", { href: each.href }, each.sample), each.evaluation, each.model, each.verdict, remove];
    return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
  }));
}

/** Return a cell of CSV; a text that a spreadsheet would take for a formula has an apostrophe before it. */
function cell(text) {
  const plain = /^[-+]?[\d.,]+( %)?$/.test(text) ? text : text.replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function download() {
  const all = [...marked.values()];
  const terms = [...new Set(all.flatMap(({ words }) => words.map(([term]) => term)))];
  const rows = all.map(({ model, evaluation, sample, verdict, words }) => [model, evaluation, sample, verdict, ...terms.map((term) => (new Map(words).get(term) ?? "").replaceAll(/−(?=\d)/g, "-"))]);
  const lines = [["model", "evaluation", "sample", "verdict", ...terms], ...rows].map((row) => row.map(cell).join(","));
  const href = URL.createObjectURL(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" })); // the mark makes spreadsheets read UTF-8
  make("a", { href, download: "marked-samples.csv" }).click();
  URL.revokeObjectURL(href);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-mark]");
  if (button) toggle(button);
});
panel.querySelector("[data-download]").addEventListener("click", download);
panel.querySelector("[data-unmark]").addEventListener("click", () => { marked.clear(); marks(marked); showMarks(); });
addEventListener("storage", () => { marked = marks(); showMarks(); });
showMarks();

// Keys

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (at.matches("input:not([type=checkbox], [type=radio]), select, textarea, canvas")) {
    if (event.key === "Escape") at.blur();
    return;
  }
  const rows = [...document.querySelectorAll("a[data-row]")];
  const row = at.closest("tr, li")?.querySelector("a[data-row]");
  const acts = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    j: () => rows[Math.min(rows.length - 1, rows.indexOf(row) + 1)]?.focus(),
    k: () => rows[Math.max(0, rows.indexOf(row) - 1)]?.focus(),
    x: () => (bar ? at.closest("tr")?.querySelector('input[name="run"]') : (at.closest(".sample") ?? document.querySelector("nav"))?.querySelector("[data-mark]"))?.click(),
    ArrowRight: () => document.querySelector("a[rel=next]")?.click(),
    ArrowLeft: () => document.querySelector("a[rel=prev]")?.click(),
  };
  if (!(event.key in acts)) return;
  event.preventDefault();
  acts[event.key]();
});
