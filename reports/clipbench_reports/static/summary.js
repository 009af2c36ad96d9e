// Several models are shown and hidden.

{
  function addPicker() {
    const list = document.querySelector(".models[data-picker]");
    if (!list) return;
    for (const [place, item] of [...list.children].entries()) {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        const mine = document.querySelectorAll(`section [data-model="${place}"]`);
        for (const each of mine) each.toggleAttribute("hidden", !box.checked); // parts of images have no property for it
        document.dispatchEvent(new Event("models"));
      });
      item.prepend(make("label", {}, box, item.querySelector(".swatch"), item.querySelector("b")));
    }
    list.classList.add("picker");
    list.before(make("p", { className: "soft scope" }, "A model that is not ticked is left out of every table, figure and section."));
  }

  document.addEventListener("DOMContentLoaded", addPicker);
}
