// A scatter of vectors: places are written as pixels of an image, so that 50,000 of them move with the hand.
"use strict";

const map = document.querySelector("[data-map]");
const canvas = map.querySelector("canvas");
const tip = map.querySelector(".tip");
const wait = map.querySelector(".wait");
const colour = document.querySelector("[data-colour]");
const pairs = document.querySelector("[data-pairs]");
const MOST_LISTED = 60, MOST_LINES = 400, NEAR = 12;
const STATES = { wrong: "#d55e00", tie: "#b78a00", right: "#56b4e9" };
const CYCLE = ["#009e73", "#cc79a7", "#b78a00", "#56b4e9", "#8a5a3c", "#0072b2", "#d55e00", "#7a5cc0"];

let points = null; // { x, y, rows, ids, colours }: images first, then their texts
let view = { scale: 1, x: 0, y: 0 }; // a place p is drawn at p * scale + offset
let shades = null, held = null, isDrawing = false;

const style = (name) => getComputedStyle(map).getPropertyValue(name);
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function rgba(hex) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  return (255 << 24) | (b << 16) | (g << 8) | r;
}

function paint() {
  const n = points.rows.length;
  const chosen = points.colours[colour.value];
  const grey = rgba(isDark() ? "#5a5b60" : "#b9b9b5");
  shades = new Int32Array(2 * n);
  let key;
  if (chosen) {
    const shade = chosen.names.map((name, k) => STATES[name] ?? CYCLE[k % CYCLE.length]);
    const codes = shade.map(rgba);
    for (let k = 0; k < 2 * n; k++) shades[k] = codes[chosen.codes[k % n]] ?? grey;
    key = [...chosen.names.map((name, k) => [shade[k], name]), ["#8a8a8a", "other or not known"]];
  } else {
    shades.fill(rgba("#0072b2"), 0, n);
    shades.fill(rgba("#d55e00"), n);
    key = [["#0072b2", "image"], ["#d55e00", "text"]];
  }
  document.querySelector("[data-key]").replaceChildren(...key.map(([shade, name]) => {
    const [entry, swatch] = ["span", "canvas"].map((tag) => document.createElement(tag));
    swatch.width = swatch.height = 10;
    const pen = swatch.getContext("2d");
    pen.fillStyle = shade;
    pen.fillRect(0, 0, 10, 10);
    entry.append(swatch, name);
    return entry;
  }));
  draw();
}

function fit() {
  const box = map.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(box.width * ratio));
  canvas.height = Math.max(1, Math.round(box.height * ratio));
}

function whole() {
  const widest = Math.max(...bounds(points.x)), highest = Math.max(...bounds(points.y));
  const scale = 0.92 * Math.min(canvas.width / Math.max(1, widest), canvas.height / Math.max(1, highest));
  view = { scale, x: (canvas.width - scale * widest) / 2, y: (canvas.height + scale * highest) / 2 };
  draw();
}

const bounds = (values) => values.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [0, 0]);
const across = (k) => points.x[k] * view.scale + view.x;
const down = (k) => view.y - points.y[k] * view.scale;

function draw() {
  if (isDrawing || !points) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    const start = performance.now();
    const pen = canvas.getContext("2d"), { width, height } = canvas, n = points.rows.length;
    const image = pen.createImageData(width, height), pixels = new Int32Array(image.data.buffer);
    const ratio = window.devicePixelRatio || 1;
    const size = Math.max(2, Math.round(ratio * (n > 5000 ? 2 : n > 1000 ? 3 : 4)));
    for (let k = 0; k < 2 * n; k++) {
      const left = Math.round(across(k) - size / 2), top = Math.round(down(k) - size / 2);
      if (left < 0 || top < 0 || left + size > width || top + size > height) continue;
      for (let row = top * width + left, end = row + size * width; row < end; row += width) {
        for (let place = row; place < row + size; place++) pixels[place] = shades[k];
      }
    }
    pen.clearRect(0, 0, width, height);
    if (pairs.checked) {
      pen.strokeStyle = isDark() ? "#4a4b50" : "#cfcfca";
      pen.lineWidth = ratio;
      pen.beginPath();
      const step = Math.max(1, Math.ceil(n / MOST_LINES));
      for (let k = 0; k < n; k += step) {
        pen.moveTo(across(k), down(k));
        pen.lineTo(across(k + n), down(k + n));
      }
      pen.stroke();
    }
    layer(pen, image);
    map.dataset.milliseconds = (performance.now() - start).toFixed(1);
  });
}

const sheet = document.createElement("canvas");
function layer(pen, image) { // putImageData would wipe out the lines below the points
  if (sheet.width !== image.width || sheet.height !== image.height) [sheet.width, sheet.height] = [image.width, image.height];
  sheet.getContext("2d").putImageData(image, 0, 0);
  pen.drawImage(sheet, 0, 0);
}

function zoom(factor, x = canvas.width / 2, y = canvas.height / 2) {
  view = { scale: view.scale * factor, x: x + (view.x - x) * factor, y: y + (view.y - y) * factor };
  draw();
}

function spot(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}

function nearest([x, y]) {
  let best = -1, least = (NEAR * (window.devicePixelRatio || 1)) ** 2;
  for (let k = 0; k < points.x.length; k++) {
    const distance = (across(k) - x) ** 2 + (down(k) - y) ** 2;
    if (distance < least) [best, least] = [k, distance];
  }
  return best;
}

const inView = (k) => across(k) >= 0 && across(k) <= canvas.width && down(k) >= 0 && down(k) <= canvas.height;

async function listView() {
  const n = points.rows.length, found = new Set();
  for (let k = 0; k < 2 * n; k++) if (inView(k)) found.add(points.rows[k % n]);
  const rows = [...found].slice(0, MOST_LISTED);
  const head = document.querySelector("[data-count]"), target = document.querySelector("[data-chosen]");
  head.hidden = false;
  head.textContent = `${found.size.toLocaleString("en")} of ${n.toLocaleString("en")} pairs in view${found.size > rows.length ? `, the first ${rows.length} here` : ""}`;
  if (!rows.length) {
    target.replaceChildren();
    return;
  }
  const answer = await fetch(map.dataset.list + rows.join(","), { credentials: "same-origin" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  target.replaceChildren(...[...page.body.children].map((each) => document.adoptNode(each)));
  showMarks();
}

canvas.addEventListener("pointerdown", (event) => {
  if (!points) return;
  canvas.setPointerCapture(event.pointerId);
  held = spot(event);
});
canvas.addEventListener("pointermove", (event) => {
  if (!points) return;
  const at = spot(event);
  if (held) {
    view = { ...view, x: view.x + at[0] - held[0], y: view.y + at[1] - held[1] };
    held = at;
  } else {
    const k = nearest(at), n = points.rows.length;
    tip.hidden = k < 0;
    if (k >= 0) {
      tip.textContent = `${k < n ? "image" : "text"} of ${points.ids[k % n]}`;
      const ratio = canvas.width / canvas.clientWidth;
      tip.style.left = `${Math.min(at[0] / ratio + 12, canvas.clientWidth - 120)}px`;
      tip.style.top = `${at[1] / ratio + 12}px`;
    }
    return;
  }
  draw();
});
canvas.addEventListener("pointerup", () => { held = null; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), ...spot(event));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = canvas.width / 10;
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (!points) return;
  if (moves[event.key]) {
    view = { ...view, x: view.x + moves[event.key][0], y: view.y + moves[event.key][1] };
    draw();
  } else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "0") whole();
  else if (event.key === "Enter") listView();
  else return;
  event.preventDefault();
});
document.querySelector("[data-view]").addEventListener("click", () => points && listView());
document.querySelector("[data-whole]").addEventListener("click", () => points && whole());
colour.addEventListener("change", () => points && paint());
pairs.addEventListener("change", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => points && paint());
new MutationObserver(() => points && paint()).observe(root, { attributeFilter: ["data-theme"] });
new ResizeObserver(() => { fit(); if (points) whole(); }).observe(map);

(async () => {
  fit();
  const answer = await fetch(map.dataset.map, { credentials: "same-origin" });
  if (!answer.ok) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    wait.textContent = page.querySelector("[role=alert]")?.textContent ?? "The map cannot be made.";
    return;
  }
  points = await answer.json();
  colour.append(...Object.keys(points.colours).map((name) => new Option(name, name)));
  const drawn = points.rows.length.toLocaleString("en"), all = points.n_pairs.toLocaleString("en");
  document.querySelector("[data-reading]").textContent = `${points.reading} ${drawn} of ${all} pairs${pairs ? "; lines join some of them" : ""}.`;
  wait.hidden = true;
  whole();
  paint();
})();
