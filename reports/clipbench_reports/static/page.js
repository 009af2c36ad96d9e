// What the page can do beyond being read; everything is there to read without it. Scripts are joined in one order: this is
// the first, and each keeps its names to itself.
"use strict";

/** Return an element. Words become text, never markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

{
  /* Light and dark */

  const THEME = "clipbench-theme"; // under which a browser that keeps anything for a page keeps the choice
  const root = document.documentElement;
  const asked = matchMedia("(prefers-color-scheme: dark)");

  /** Return "light" or "dark" where the reader chose one; a file's page may be refused the memory. */
  function chosen() {
    try {
      const theme = localStorage.getItem(THEME);
      return ["light", "dark"].includes(theme) ? theme : null;
    } catch {
      return null;
    }
  }

  /** Show a theme and remember it; the one that the system has is no choice, and is followed from then on. */
  function choose(theme) {
    const isOwn = theme !== (asked.matches ? "dark" : "light");
    if (isOwn) root.dataset.theme = theme;
    else delete root.dataset.theme;
    try {
      if (isOwn) localStorage.setItem(THEME, theme);
      else localStorage.removeItem(THEME);
    } catch { /* it holds for this page alone */ }
  }

  function addSwitch() {
    const isDark = () => (root.dataset.theme ?? (asked.matches ? "dark" : "light")) === "dark";
    const button = make("button", { type: "button", className: "switch" });
    const say = () => { button.textContent = isDark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => { choose(isDark() ? "light" : "dark"); say(); });
    asked.addEventListener("change", say);
    button.setAttribute("aria-describedby", "switch");
    const hint = make("span", { id: "switch", hidden: true }, "Switches the colours of the page");
    document.querySelector(".brand > :last-child").append(button, hint);
    say();
  }

  if (chosen()) root.dataset.theme = chosen(); // before anything is painted: the script stands in the head
  document.addEventListener("DOMContentLoaded", addSwitch);
}
