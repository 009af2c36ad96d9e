// A figure is saved as SVG with the styles that it needs, as PNG of twice the size, and its numbers as CSV.

{
  const SVG = "http://www.w3.org/2000/svg";
  const APART = 16; // between drawings that stand in one file
  const COLUMNS = ["panel", "series", "id", "x", "y", "low", "high", "value"];
  const STYLES = {
    shape: ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin"],
    text: ["fill", "stroke", "stroke-width", "stroke-linejoin", "paint-order", "font-weight", "font-variant-numeric"],
  };
  const FONT = { "font-family": "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', Arial, sans-serif", "font-size": "13px" };

  /** Return a copy of a drawing that needs no style sheet. */
  function styled(svg) {
    const copy = svg.cloneNode(true);
    const originals = svg.querySelectorAll("*");
    for (const [place, each] of [...copy.querySelectorAll("*")].entries()) {
      const style = getComputedStyle(originals[place]);
      const isText = each.tagName === "text";
      if (style.display === "none" || each.matches(".here")) each.dataset.gone = "";
      else if (each.tagName !== "g") for (const name of isText ? STYLES.text : STYLES.shape) each.setAttribute(name, style.getPropertyValue(name));
      if (isText) for (const [name, value] of Object.entries(FONT)) each.setAttribute(name, value);
    }
    copy.querySelectorAll("[data-gone]").forEach((each) => each.remove());
    for (const each of [copy, ...copy.querySelectorAll("*")]) {
      for (const { name } of [...each.attributes]) if (name === "class" || name.startsWith("data-") || name.startsWith("aria-")) each.removeAttribute(name);
    }
    return copy;
  }

  /** Return what a function makes while the page has its light colours: nothing is painted in between. */
  function inLight(make) {
    const { theme } = document.documentElement.dataset;
    document.documentElement.dataset.theme = "light";
    try {
      return make();
    } finally {
      if (theme) document.documentElement.dataset.theme = theme;
      else delete document.documentElement.dataset.theme;
    }
  }

  /** Return the drawings of a figure as one SVG that stands by itself. */
  function standalone(figure) {
    const whole = document.createElementNS(SVG, "svg");
    const drawings = [...figure.querySelectorAll(".drawing svg")].filter((svg) => !svg.closest(".slim, [hidden]"));
    let [width, top] = [0, 0];
    for (const copy of inLight(() => drawings.map(styled))) {
      copy.setAttribute("y", top);
      width = Math.max(width, Number(copy.getAttribute("width")));
      top += Number(copy.getAttribute("height")) + APART;
      whole.append(copy);
    }
    const height = top - APART;
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) whole.setAttribute(name, value);
    const [title, ground] = ["title", "rect"].map((tag) => document.createElementNS(SVG, tag));
    title.textContent = figure.querySelector("figcaption").textContent.trim();
    for (const [name, value] of Object.entries({ width, height, fill: "#fff" })) ground.setAttribute(name, value);
    whole.prepend(title, ground);
    return { width, height, text: new XMLSerializer().serializeToString(whole) };
  }

  const KINDS = {
    SVG: (figure) => new Blob([standalone(figure).text], { type: "image/svg+xml" }),
    PNG: async (figure) => {
      const { width, height, text } = standalone(figure);
      const image = new Image();
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
      await image.decode();
      const canvas = make("canvas", { width: 2 * width, height: 2 * height });
      canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
      return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
    },
    CSV: (figure) => {
      const lines = [COLUMNS];
      for (const panel of numbersOf(figure)) {
        for (const series of panel.series) {
          for (const row of rowsOf(series)) lines.push(COLUMNS.map((name) => ({ panel: panel.name, series: series.name, ...row })[name] ?? ""));
        }
      }
      return new Blob([lines.map((line) => `${line.map(quoted).join()}\n`).join("")], { type: "text/csv" });
    },
  };

  /** Return a cell of a CSV file. */
  function quoted(value) {
    const words = String(value);
    return /[",\n\r]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words;
  }

  /** Return a name for the files of a figure: the models of the page, the section, and its place there. */
  function nameOf(figure) {
    const section = figure.closest("section");
    const place = section ? [...section.querySelectorAll("figure")].indexOf(figure) + 1 : 1;
    const parts = [document.title.replace(/ – clipbench$/, ""), section?.getAttribute("aria-labelledby") ?? "", place];
    return parts.join("-").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-/, "").slice(-80);
  }

  async function save(figure, kind) {
    const address = URL.createObjectURL(await KINDS[kind](figure));
    make("a", { href: address, download: `${nameOf(figure)}.${kind.toLowerCase()}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("figure:has(template.told)")) {
      const kinds = make("span", { hidden: true }, ...Object.keys(KINDS).map((kind) => {
        const button = make("button", { type: "button", ariaLabel: `Download as ${kind}` }, kind);
        button.addEventListener("click", () => save(figure, kind));
        return button;
      }));
      const opener = make("button", { type: "button", ariaExpanded: "false" }, "Download");
      opener.addEventListener("click", () => {
        kinds.hidden = !kinds.hidden;
        opener.ariaExpanded = String(!kinds.hidden);
      });
      (figure.querySelector(".reading") ?? figure).append(make("span", { className: "download" }, opener, kinds));
    }
  });
}
