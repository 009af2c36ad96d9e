// One query at a time is judged. What is done waits until what was done before it is on the disk.
"use strict";

{
  const main = document.querySelector("main");
  const list = main.querySelector("[data-candidates]");
  const alert = main.querySelector("[data-alert]");
  const verdict = main.querySelector("[data-verdict]");
  const query = main.querySelector(".query");
  const bar = main.querySelector(".bar");
  const skipped = main.querySelector("[data-skipped]");
  const words = [...bar.querySelectorAll("button span")].map((word) => word.textContent);
  const RELEVANT = 2; // the grade of a tap
  let state = {};
  let before = Promise.resolve(); // what was done last
  let verdicts = Promise.resolve(); // that was asked for last

  /** Ask for an address, or post to it, and return the answer. */
  async function ask(address, content) {
    const post = content && {
      method: "POST",
      headers: { "x-clipbench-token": main.dataset.token, "content-type": "application/json" },
      body: JSON.stringify(content),
    };
    const answer = await fetch(address, post);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  function warn(text) {
    alert.textContent = text;
    alert.hidden = !text;
  }

  /** Do one thing after all that was done before; say what went wrong. */
  function then(work) {
    before = before.then(work).then(() => warn(""), (error) => warn(`Not kept: ${error.message}`));
  }

  const buttons = () => [...list.querySelectorAll("button")];
  const place = () => Math.max(0, buttons().indexOf(document.activeElement));

  /** Move to a photograph, by its place, and show it between the query and the bar. */
  function move(to) {
    const all = buttons();
    const button = all[Math.min(Math.max(to, 0), all.length - 1)];
    button?.focus({ preventScroll: true });
    button?.scrollIntoView({ block: "nearest" });
  }

  function say(button, grade) {
    button.dataset.grade = grade ?? "";
    const text = grade === null ? "" : `${grade} ${words[grade]}`;
    button.querySelector("span").textContent = text;
    button.setAttribute("aria-label", `Photograph ${buttons().indexOf(button) + 1}, ${text || "without a grade"}`);
  }

  function card(at) {
    const address = `/image?query=${state.query}&place=${at}`;
    const button = make("button", { type: "button" }, make("img", { src: address, alt: "" }), make("span"));
    button.addEventListener("click", (event) => {
      move(at); // not every browser does
      if (event.detail) act(" "); // a key has its own meaning
    });
    return make("li", {}, button);
  }

  /** Show a state; where the query is the same one, only its grades change. */
  function show(next) {
    const isOther = next.query !== state.query;
    state = next;
    main.querySelector("progress").value = next.n_done / next.n_queries;
    const grades = next.grades ?? [];
    const isEnd = next.query === null;
    const nGraded = grades.filter((grade) => grade !== null).length;
    const nSkipped = next.skipped.length;
    const done = `${next.n_done} of ${next.n_queries} queries done${nSkipped ? ` (${nSkipped} skipped)` : ""}`;
    const counts = `${done}${isEnd ? "" : `, ${nGraded} of ${grades.length} photographs`}`;
    main.querySelector("[data-progress]").textContent = [counts, ...next.notes].join(" · ");
    const judged = `${next.n_queries - nSkipped} of ${next.n_queries} queries are judged, ${nSkipped} skipped.`;
    const end = nSkipped ? judged : "All queries are judged. Thank you.";
    main.querySelector("[data-query]").textContent = next.text ?? end;
    listSkipped(isEnd);
    for (const part of main.querySelectorAll("[data-while]")) part.hidden = isEnd;
    main.querySelector("[data-end]").hidden = !isEnd;
    if (isEnd) verdict.open = true;
    if (isOther) list.replaceChildren(...grades.map((_, at) => card(at)));
    buttons().forEach((button, at) => say(button, grades[at]));
    if (isOther && !isEnd) move(0);
    if (isOther) scrollTo(0, 0);
    if (isOther) verdicts = verdicts.then(look).catch((error) => warn(error.message));
  }

  /** List the queries that are skipped, each with a way back; at the end the list is open. */
  function listSkipped(isEnd) {
    const rows = state.skipped.map(({ query: index, text }) => {
      const button = make("button", { type: "button" }, make("bdi", {}, text));
      button.addEventListener("click", () => then(() => back(index)));
      return make("li", {}, button);
    });
    skipped.hidden = !rows.length;
    skipped.querySelector("b").textContent = rows.length;
    skipped.querySelector("ol").replaceChildren(...rows);
    if (isEnd && rows.length) skipped.open = true;
    bar.querySelector('[data-key="b"]').disabled = !rows.length;
  }

  /** Show a query that was skipped: the one of an index, or the next one of the list. */
  async function back(index) {
    const indices = state.skipped.map((row) => row.query);
    const following = indices.find((other) => other > (state.query ?? -1)) ?? indices[0];
    if (index === undefined && following === undefined) return;
    show(await ask(`/state?query=${index ?? following}`));
  }

  /** Return the place of the next photograph without a grade. */
  function open(from) {
    const after = state.grades.findIndex((grade, at) => at > from && grade === null);
    return after < 0 ? from : after;
  }

  async function grade(value, at) {
    show(await ask("/judge", { query: state.query, grades: { [at]: value } }));
  }

  function act(key) {
    then(async () => {
      const at = place();
      if (key === "u") show(await ask("/judge", { undo: true }));
      else if (key === "b") await back();
      else if (state.query === null) return;
      else if (key === "n") show(await ask("/judge", { query: state.query, grades: {}, next: true }));
      else if (key === "s") show(await ask("/judge", { query: state.query, skip: true }));
      else if (key === " ") await grade(state.grades[at] ? 0 : RELEVANT, at);
      else {
        await grade(Number(key), at);
        move(open(at));
      }
    });
  }

  /** Return the number of photographs in a row. */
  function columns() {
    const [first, ...others] = buttons().map((button) => button.getBoundingClientRect().top);
    const below = others.findIndex((top) => top > first + 1);
    return below < 0 ? others.length + 1 : below + 1;
  }

  const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns(), ArrowDown: columns };

  document.addEventListener("keydown", (event) => {
    const isElsewhere = event.target.closest?.("summary, .bar, .switch, .skipped, a");
    if (event.ctrlKey || event.metaKey || event.altKey || (isElsewhere && [" ", "Enter"].includes(event.key))) return;
    if (event.key in STEPS) then(() => move(place() + STEPS[event.key]()));
    else if (/^[0-3nsub ]$/.test(event.key)) act(event.key);
    else return;
    event.preventDefault();
  });
  for (const button of main.querySelectorAll("[data-key]")) {
    button.addEventListener("pointerdown", (event) => event.preventDefault()); // the photograph keeps the focus
    button.addEventListener("click", () => act(button.dataset.key));
  }

  /** Show the verdict so far. */
  async function look() {
    const found = await ask("/verdict");
    const tables = found.tables.map((html) => {
      const scroll = make("div", { className: "scroll", tabIndex: 0 });
      scroll.innerHTML = html; // made and escaped by the server
      return scroll;
    });
    const facts = found.facts.map((fact) => make("p", { className: "soft" }, fact));
    main.querySelector("[data-sentence]").textContent = found.sentence;
    verdict.querySelector("div").replaceChildren(make("p", {}, make("b", {}, found.sentence)), ...tables, ...facts);
  }

  new ResizeObserver(() => { // a photograph with the focus is covered by neither
    const heights = [query.offsetHeight + 8, bar.offsetHeight + 8];
    document.documentElement.style.scrollPadding = `${heights[0]}px 0 ${heights[1]}px`;
  }).observe(query);
  then(async () => show(await ask("/state")));
}
