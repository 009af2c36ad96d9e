// One query at a time is judged. What is done waits until what was done before it is on the disk.
"use strict";

{
  const main = document.querySelector("main");
  const list = main.querySelector("[data-candidates]");
  const alert = main.querySelector("[data-alert]");
  const verdict = main.querySelector("[data-verdict]");
  let state = {};
  let before = Promise.resolve(); // what was done last

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

  /** Do one thing after all that was done before; say what went wrong. */
  function then(work) {
    before = before.then(work).then(() => { alert.hidden = true; }, (error) => {
      alert.textContent = `Not kept: ${error.message}`;
      alert.hidden = false;
    });
  }

  const buttons = () => [...list.querySelectorAll("button")];
  const place = () => Math.max(0, buttons().indexOf(document.activeElement));

  /** Move to a photograph, by its place. */
  function move(to) {
    const all = buttons();
    all[Math.min(Math.max(to, 0), all.length - 1)]?.focus();
  }

  function say(button, grade) {
    button.dataset.grade = grade ?? "";
    button.querySelector("span").textContent = grade ?? "";
    const words = grade === null ? "not judged" : `grade ${grade}`;
    button.setAttribute("aria-label", `Photograph ${buttons().indexOf(button) + 1}, ${words}`);
  }

  function card(at) {
    const address = `/image?query=${state.query}&place=${at}`;
    const button = make("button", { type: "button" }, make("img", { src: address, alt: "" }), make("span"));
    button.addEventListener("click", (event) => {
      button.focus(); // not every browser does
      if (event.detail) act(" "); // a key has its own meaning
    });
    return make("li", {}, button);
  }

  /** Show a state; where the query is the same one, only its grades change. */
  function show(next) {
    const isOther = next.query !== state.query;
    state = next;
    main.querySelector("progress").value = next.n_done / next.n_queries;
    const counts = `${next.n_done} of ${next.n_queries}, ${next.n_judgements} judgements`;
    main.querySelector("[data-progress]").textContent = [counts, ...next.notes].join(" · ");
    main.querySelector("[data-query]").textContent = next.text ?? "All queries are judged. Thank you.";
    for (const each of main.querySelectorAll("[data-while]")) each.hidden = next.query === null;
    if (isOther) list.replaceChildren(...(next.grades ?? []).map((_, at) => card(at)));
    buttons().forEach((button, at) => say(button, next.grades[at]));
    if (isOther && next.query !== null) move(0);
    if (isOther) scrollTo(0, 0);
    if (isOther) look();
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
      else if (state.query === null) return;
      else if (key === "n") show(await ask("/judge", { query: state.query, grades: {}, next: true }));
      else if (key === "s") show(await ask("/judge", { query: state.query, skip: true }));
      else if (key === " ") await grade(state.grades[at] ? 0 : 1, at);
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
    const isElsewhere = event.target.closest?.("summary, .bar, .switch, a");
    if (event.ctrlKey || event.metaKey || event.altKey || (isElsewhere && [" ", "Enter"].includes(event.key))) return;
    if (event.key in STEPS) then(() => move(place() + STEPS[event.key]()));
    else if (/^[0-3nsu ]$/.test(event.key)) act(event.key);
    else return;
    event.preventDefault();
  });
  for (const button of main.querySelectorAll("[data-key]")) {
    button.addEventListener("pointerdown", (event) => event.preventDefault()); // the photograph keeps the focus
    button.addEventListener("click", () => act(button.dataset.key));
  }

  /** Show the verdict, where it is unfolded. */
  async function look() {
    if (!verdict.open) return;
    const found = await ask("/verdict");
    const tables = found.tables.map((html) => {
      const scroll = make("div", { className: "scroll", tabIndex: 0 });
      scroll.innerHTML = html; // made and escaped by the server
      return scroll;
    });
    const facts = found.facts.map((fact) => make("p", { className: "soft" }, fact));
    verdict.querySelector("div").replaceChildren(make("p", {}, make("b", {}, found.sentence)), ...tables, ...facts);
  }

  verdict.addEventListener("toggle", () => then(look));
  then(async () => show(await ask("/state")));
}
