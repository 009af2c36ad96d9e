// Where one is, and how one gets elsewhere: the section on screen is marked, keys go to the next one, and an address in a
// fold opens it.

{
  const LINE = 120; // pixels under the top of the screen that a section has to reach to be the one that is read
  const sections = () => [...document.querySelectorAll("main > section[aria-labelledby]")];

  /** Return the section that is read: the last whose top has passed the line; the last of all at the end of the page. */
  function current() {
    const all = sections();
    const { scrollHeight, clientHeight } = document.documentElement;
    if (scrollY > 0 && scrollY + clientHeight >= scrollHeight - 2) return all.at(-1);
    return all.findLast((each) => each.getBoundingClientRect().top <= LINE) ?? all[0];
  }

  /** Mark the section that is read, in the column and in the menu. */
  function mark() {
    const id = current()?.getAttribute("aria-labelledby");
    for (const list of document.querySelectorAll("[data-spy]")) {
      for (const link of list.querySelectorAll("ol a")) {
        if (link.getAttribute("href") === `#${id}`) {
          link.setAttribute("aria-current", "true");
          const here = list.querySelector(".here");
          if (here) here.textContent = link.textContent;
        } else link.removeAttribute("aria-current");
      }
    }
  }

  /** Open every fold around the element of an address, and go there. */
  function open() {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && document.getElementById(id);
    if (!target) return;
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    target.scrollIntoView();
  }

  /** Go to the section that is so many after the one that is read. */
  function go(steps) {
    const all = sections();
    const at = all.indexOf(current());
    const back = steps < 0 && all[at].getBoundingClientRect().top < -LINE; // first to its own head
    all[Math.min(all.length - 1, Math.max(0, at + (back ? 0 : steps)))]?.scrollIntoView();
  }

  /** Go to the search of the page: that of failures, or else the filter of all metrics. */
  function search() {
    const field = document.querySelector(".failure-search input") ?? document.querySelector("#metrics input, .tools input");
    if (!field) return;
    for (let each = field; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    field.focus();
    field.scrollIntoView({ block: "center" });
  }

  const KEYS = [["j", "Next section"], ["k", "Section before"], ["/", "Search"], ["?", "These keys"], ["Esc", "Close"]];

  function help() {
    const lines = KEYS.map(([key, words]) => make("div", {}, make("dt", {}, make("kbd", { textContent: key })), make("dd", {}, words)));
    const close = make("button", { type: "button" }, "Close");
    const dialog = make("dialog", { className: "keys" }, make("h2", { id: "keys" }, "Keys"), make("dl", {}, ...lines), close);
    dialog.setAttribute("aria-labelledby", "keys");
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  const ACTIONS = { j: () => go(1), k: () => go(-1), "/": search, "?": help };

  function press(event) {
    const isTyping = event.target.matches?.("input, textarea, select, [contenteditable]");
    if (event.key === "Escape" && isTyping) event.target.blur();
    if (event.key === "Escape") for (const menu of document.querySelectorAll(".menu[open]")) menu.open = false;
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const act = ACTIONS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!document.querySelector("[data-spy]")) return;
    let isAsked = false;
    const later = () => {
      if (!isAsked) requestAnimationFrame(() => { isAsked = false; mark(); });
      isAsked = true;
    };
    for (const name of ["scroll", "resize"]) addEventListener(name, later, { passive: true });
    addEventListener("hashchange", open);
    addEventListener("load", () => { open(); mark(); });
    document.addEventListener("click", (event) => {
      const link = event.target.closest?.("a[href^='#']");
      if (!link) return;
      const menu = link.closest(".menu");
      if (menu) menu.open = false;
      if (link.hash === location.hash) open(); // the same address again: no change of it is told
    });
    document.addEventListener("keydown", press);
  });
}
