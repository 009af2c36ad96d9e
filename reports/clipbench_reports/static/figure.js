// Points of a scatter say what they are.

{
  const REACH = 14; // how near to a point, in pixels of the page, the pointer has to be

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

  document.addEventListener("DOMContentLoaded", addPointing);
}
