// Several models are shown and hidden.

{
  function addPicker() {
    const list = document.querySelector(".models[data-picker]");
    if (!list) return;
    const boxes = [...list.children].map((item, place) => {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        const mine = document.querySelectorAll(`section [data-model="${place}"]`);
        for (const each of mine) each.toggleAttribute("hidden", !box.checked); // parts of images have no property for it
        document.dispatchEvent(new Event("models"));
      });
      return make("label", {}, box, item.querySelector(".swatch").cloneNode(), item.querySelector("b").cloneNode(true));
    });
    const legend = make("legend", {}, "Show in every table, figure and section");
    list.after(make("fieldset", { className: "picker" }, legend, ...boxes));
  }

  document.addEventListener("DOMContentLoaded", addPicker);
}
