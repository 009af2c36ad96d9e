// Marks of a figure say what they stand for: at the pointer, and by arrow keys where the figure has the focus.

/** Return the numbers of a figure, by panel and series (drawing/chart_data.py). */
function numbersOf(figure) {
  const panels = JSON.parse(figure.querySelector("template.told").content.textContent);
  for (const { series } of panels) {
    for (const each of series) {
      if (typeof each.id === "number") each.id = series[each.id].id; // those of an earlier one
      if (each.filled) each.value = Array.from({ length: each.n }, (_, place) => each.filled[place] ?? 0);
    }
  }
  return panels;
}

/** Yield the rows of a series: those of its table, and the place of each. */
function* rowsOf(series) {
  const isMatrix = series.kind === "cells";
  const columns = ["id", "x", "y", "low", "high", "value"].filter((name) => Array.isArray(series[name]));
  for (let place = 0; place < series[columns[0]].length; place++) {
    const row = Object.fromEntries(columns.map((name) => [name, series[name][place]]));
    if (isMatrix) Object.assign(row, { x: place % series.columns, y: Math.floor(place / series.columns) });
    yield { place, ...row };
  }
}

{
  const REACH = 20; // how near to a mark, in pixels of the page, the pointer has to be
  const SAME = 3; // how near marks lie to each other that are told together
  const MOST = 5; // marks that are told together
  const SVG = "http://www.w3.org/2000/svg";
  // An area counts as so near where the pointer is in it: what lies over it comes first.
  const NEARNESS = { cells: 0, bars: 0.6, hill: 0.7, shade: 0.9 };

  /* Numbers in words */

  const signed = (words) => words.replaceAll("-", "\u2212");

  /** Return a number with four digits, and a whole one with all. */
  function number(value) {
    const digits = Number.isInteger(value) ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
    const isTiny = value !== 0 && Math.abs(value) < 1e-4;
    return signed(isTiny ? value.toExponential(1) : value.toLocaleString("en-US", digits));
  }

  function quantity(value, isPercent) {
    if (value === null) return "–";
    return isPercent ? `${signed((100 * value).toFixed(1))}\u00a0%` : number(value);
  }

  /** Return the name of the category of an axis that a value lies at; nothing where the axis has numbers. */
  function category(axis, value) {
    if (!axis.names) return "";
    const far = axis.ticks.map((tick) => Math.abs(tick - value));
    return axis.names[far.indexOf(Math.min(...far))];
  }

  const label = (axis) => axis.label.replace(/, %$/, "");
  const on = (axis, value) => category(axis, value) || `${label(axis)} ${quantity(value, axis.percent)}`.trim();

  function bounded(axis, value, { low, high }) {
    const words = quantity(value, axis.percent);
    const isKnown = [low, high].every((each) => typeof each === "number");
    return isKnown ? `${words} (${span(axis, { low, high })})` : words;
  }

  const span = (axis, { low, high }) => `${quantity(low, axis.percent).replace("\u00a0%", "")} to ${quantity(high, axis.percent)}`;

  /** What a mark stands for, by its kind: where it is, and its value. */
  const SAID = {
    line: ({ x, y }, row) => [on(x, row.x), bounded(y, row.y, row)],
    ranges: ({ x, y }, row, { upright }) =>
      upright ? [row.id || on(x, row.x), bounded(y, row.y, row)] : [row.id || on(y, row.y), bounded(x, row.x, row)],
    dots: ({ x, y }, row) => {
      const axes = [[x, row.x], [y, row.y]].filter(([axis]) => !axis.names && !axis.bare);
      return [row.id, axes.map(([axis, value]) => on(axis, value)).join(", ")];
    },
    hill: ({ x, y }, row, { percent }) => [on(x, row.x), row.value === undefined ? on(y, row.y) : quantity(row.value, percent)],
    bars: ({ x, y }, row) => [`${label(x)} ${span(x, row)}`, quantity(row.y, y.percent)],
    rule: (panel, row, { axis }) => {
      const other = axis === "x" ? "y" : "x"; // part of the way along it, where the rule is of one category
      const where = row[other] === undefined ? "" : category(panel[other], row[other]);
      return [where, panel[axis].percent ? quantity(row[axis], true) : on(panel[axis], row[axis])];
    },
    shade: ({ x }, row) => [label(x), span(x, row)],
    cells: ({ x, y }, row, { percent, names, rows = names }) => [
      names ? `${label(y)} ${rows[row.y]}, ${label(x).toLowerCase()} ${names[row.x]}` : `Row ${row.y + 1}, column ${row.x + 1}`,
      quantity(row.value, percent),
    ],
  };

  /** Return what is said of a mark: its series, where it is, and its value. */
  function said({ panel, series, row, isAlone }) {
    const title = isAlone || panel.title.endsWith(series.name) ? "" : panel.title;
    const head = [title, series.nameless ? "" : series.name].filter(Boolean).join(" · ");
    const lines = SAID[series.kind](panel, row, series).filter((line) => line && !head.includes(line));
    return head ? [head, ...lines] : lines;
  }

  /* Where marks lie */

  const between = (low, high, isLog) => (isLog ? (value) => Math.log(value / low) / Math.log(high / low)
    : (value) => (value - low) / (high - low));

  /** How a mark lies in its plane, by its kind: a point, with the corners of an area or the ends of a stroke. */
  const LIES = {
    line: (at, row) => ({ point: at(row.x, row.y) }),
    dots: (at, row) => ({ point: at(row.x, row.y) }),
    ranges: (at, row, { upright, aside }) => ({ point: at(row.x + (upright ? aside : 0), row.y + (upright ? 0 : aside)) }),
    hill: (at, row, { heights, foot, x }) => {
      const half = (x[1] - x[0]) / 2 || 0;
      const height = heights[row.place];
      return { point: at(row.x, height), area: [at(row.x - half, height), at(row.x + half, foot)] };
    },
    bars: (at, row) => ({ point: at((row.low + row.high) / 2, row.y), area: [at(row.low, row.y), at(row.high, 0)] }),
    rule: (at, row, { axis, span }, { xs, ys }) => {
      const ends = span ?? (axis === "x" ? ys : xs);
      const stroke = ends.map((end) => (axis === "x" ? at(row.x, end) : at(end, row.y)));
      return { point: [0, 1].map((k) => (stroke[0][k] + stroke[1][k]) / 2), stroke };
    },
    shade: (at, row, _, { ys }) => ({
      point: at((row.low + row.high) / 2, (ys[0] + ys[1]) / 2), area: [at(row.low, ys[0]), at(row.high, ys[1])],
    }),
    cells: (at, row) => ({ point: at(row.x + 0.5, row.y + 0.5), area: [at(row.x, row.y), at(row.x + 1, row.y + 1)] }),
  };

  /** Return the marks of a drawing with their places in it. */
  function marksIn(svg, panels) {
    const marks = [];
    for (const group of svg.querySelectorAll("[data-plane]")) {
      const [k, left, top, width, height, x0, x1, isLogX, y0, y1, isLogY] = group.dataset.plane.split(" ").map(Number);
      const [alongX, alongY] = [between(x0, x1, isLogX), between(y0, y1, isLogY)];
      const at = (x, y) => (x === null || y === null ? [NaN, NaN] : [left + alongX(x) * width, top + (1 - alongY(y)) * height]);
      for (const series of panels[k].series) {
        for (const row of rowsOf(series)) {
          const lie = LIES[series.kind](at, row, series, { xs: [x0, x1], ys: [y0, y1] });
          const isNothing = (series.kind === "hill" && row.value === 0) || (series.kind === "bars" && row.y === 0);
          if (isNothing || !lie.point.every(Number.isFinite)) continue;
          marks.push({ ...lie, svg, panel: panels[k], series, row, isAlone: panels.length === 1 });
        }
      }
    }
    return marks;
  }

  /** Return how far a mark is from a place of its drawing; infinitely, where it is out of reach. */
  function distance({ point, area, stroke, series }, [x, y], reach) {
    if (area) {
      const [[a, b], [c, d]] = area;
      const isIn = (x - a) * (x - c) <= 0 && (y - b) * (y - d) <= 0;
      return isIn ? NEARNESS[series.kind] * reach : Infinity;
    }
    if (stroke) {
      const [[a, b], [c, d]] = stroke;
      return Math.hypot(x - Math.min(Math.max(x, Math.min(a, c)), Math.max(a, c)), y - Math.min(Math.max(y, Math.min(b, d)), Math.max(b, d))) + SAME;
    }
    return Math.hypot(x - point[0], y - point[1]);
  }

  const isReference = ({ series }) => series.kind === "rule" || series.kind === "shade" || /\bchance$/.test(series.name);
  const isNear = (one, other) => Math.hypot(one.point[0] - other.point[0], one.point[1] - other.point[1]) <= SAME;

  /* What is shown */

  class Teller {
    constructor(figure) {
      this.figure = figure;
      this.drawing = figure.querySelector(".drawing");
      this.box = make("div", { className: "pointed", hidden: true });
      this.box.setAttribute("aria-hidden", "true");
      figure.append(this.box);
      this.known = new Map();
      this.drawing.addEventListener("pointermove", (event) => this.point(event));
      this.drawing.addEventListener("pointerdown", (event) => this.point(event));
      this.drawing.addEventListener("pointerleave", () => this.hide());
      this.drawing.addEventListener("keydown", (event) => this.press(event));
      this.drawing.addEventListener("blur", () => this.hide());
    }

    /** Return the marks of a drawing, without those of models that are not shown. */
    marks(svg) {
      this.numbers ??= numbersOf(this.figure);
      if (!this.known.has(svg)) this.known.set(svg, marksIn(svg, this.numbers));
      const gone = new Set([...svg.querySelectorAll("[data-model][hidden]")].map((each) => Number(each.dataset.model)));
      return this.known.get(svg).filter(({ series }) => !gone.has(series.model));
    }

    point(event) {
      const svg = event.target.closest("svg");
      if (!svg) return this.hide();
      const matrix = svg.getScreenCTM();
      const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const reach = REACH / matrix.a;
      let [nearest, least] = [null, reach];
      const marks = this.marks(svg);
      for (const mark of marks) {
        const far = distance(mark, [x, y], reach);
        if (far < least) [nearest, least] = [mark, far];
      }
      if (!nearest) return this.hide();
      const others = nearest.area || nearest.stroke ? [] : marks.filter((each) => each !== nearest && !each.area && !each.stroke && isNear(each, nearest));
      this.show([nearest, ...others.slice(0, MOST - 1)]);
    }

    /** Go to another mark by an arrow key, and have it read out. */
    press(event) {
      if (event.key === "Escape" && !this.box.hidden) {
        event.stopPropagation();
        return this.hide();
      }
      const marks = [...this.drawing.querySelectorAll("svg")].filter((svg) => svg.checkVisibility()).flatMap((svg) => this.marks(svg));
      marks.sort((one, other) => isReference(one) - isReference(other)); // what is measured comes first
      const next = marks.length ? this.next(event.key, marks) : null;
      if (next === null || marks[next] === this.here || event.ctrlKey || event.altKey || event.metaKey) return; // the page may scroll
      event.preventDefault();
      this.here = marks[next];
      this.show([this.here]);
      live().textContent = said(this.here).join(", ");
    }

    /** Return the place of the mark that a key leads to, or null for a key that leads nowhere. */
    next(key, marks) {
      const here = marks.indexOf(this.here);
      const steps = { ArrowRight: 1, ArrowLeft: -1 };
      if (key === "Home" || (here < 0 && key.startsWith("Arrow"))) return 0;
      if (key === "End") return marks.length - 1;
      if (key in steps) return Math.min(Math.max(here + steps[key], 0), marks.length - 1);
      if (key !== "ArrowDown" && key !== "ArrowUp") return null;
      const step = key === "ArrowDown" ? 1 : -1;
      const { series, row } = marks[here];
      const inRow = marks[here + step * series.columns];
      if (inRow?.series === series) return here + step * series.columns;
      return other(marks, here, step, row);
    }

    /** Show what some marks stand for, beside the first of them. */
    show(marks) {
      const [{ svg, point: [x, y] }] = marks;
      this.box.replaceChildren(...marks.map((mark) => this.entry(mark)));
      this.box.hidden = false;
      this.ring(marks[0]);
      const place = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
      const [frame, view] = [this.figure.getBoundingClientRect(), this.drawing.getBoundingClientRect()];
      this.drawing.scrollLeft += Math.max(0, place.x - view.right + REACH) - Math.max(0, view.left + REACH - place.x);
      const { x: left, y: top } = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
      const isHigh = top + 16 + this.box.offsetHeight > innerHeight && top - this.box.offsetHeight > 16;
      this.box.style.left = `${Math.max(0, Math.min(left - frame.left + 12, frame.width - this.box.offsetWidth))}px`;
      this.box.style.top = `${top - frame.top + (isHigh ? -12 - this.box.offsetHeight : 12)}px`;
    }

    entry(mark) {
      const [head, ...lines] = said(mark);
      const sample = this.sample(mark);
      const words = lines.filter((line) => !sample || line !== mark.row.id).map((line) => make("bdi", {}, line));
      const entry = make("div", {}, make("b", {}, head), ...words);
      if (sample) entry.prepend(...sample.cloneNode(true).childNodes);
      return entry;
    }

    /** Return what a point of a cloud is: its image and its caption, where the page has them. */
    sample({ series, row, svg }) {
      if (!series.cloud) return null;
      const model = svg.closest("[data-model]")?.dataset.model;
      const template = this.figure.querySelector(`template.points${model === undefined ? "" : `[data-model="${model}"]`}`);
      return template?.content.children[row.place] ?? null;
    }

    /** Draw a ring around a mark, or the outline of its area. */
    ring({ svg, point, area }) {
      this.unring();
      this.mark = document.createElementNS(SVG, area ? "rect" : "circle");
      const [[a, b], [c, d]] = area ?? [point, point];
      const places = area ? { x: Math.min(a, c), y: Math.min(b, d), width: Math.abs(c - a), height: Math.abs(d - b) } : { cx: a, cy: b, r: 8 };
      for (const [name, value] of Object.entries({ class: "here", ...places })) this.mark.setAttribute(name, value);
      svg.append(this.mark);
    }

    unring() {
      this.mark?.remove();
    }

    hide() {
      this.box.hidden = true;
      this.unring();
    }
  }

  /** Return the place of the mark of the next series, or the one before, that lies nearest. */
  function other(marks, here, step, row) {
    const { series, point, svg } = marks[here];
    let place = here;
    while (marks[place]?.series === series && marks[place].svg === svg) place += step;
    const next = marks[place];
    if (!next) return here;
    const far = (mark) => (mark.series === next.series && mark.svg === next.svg ? Math.abs(mark.point[0] - point[0]) + Math.abs(mark.row.place - row.place) * 1e-3 : Infinity);
    return marks.reduce((best, mark, k) => (far(mark) < far(marks[best]) ? k : best), place);
  }

  /** Return the element whose words are read out when they change. */
  function live() {
    let found = document.getElementById("told");
    if (!found) {
      found = make("div", { id: "told", className: "unseen", ariaLive: "polite" });
      document.body.append(found);
    }
    return found;
  }

  document.addEventListener("DOMContentLoaded", () => {
    live();
    for (const figure of document.querySelectorAll("figure:has(template.told)")) {
      const { drawing } = new Teller(figure);
      const words = drawing.querySelector("[role=img]").getAttribute("aria-label");
      const told = {
        tabindex: 0,
        role: "application", // arrow keys are ours, whatever reads the page
        "aria-roledescription": "figure",
        "aria-label": drawing.getAttribute("aria-label") ?? figure.querySelector("figcaption").textContent.trim(),
        "aria-description": `${words} Arrow keys tell the values.`,
      };
      for (const [name, value] of Object.entries(told)) drawing.setAttribute(name, value);
    }
  });
}
