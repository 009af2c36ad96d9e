// A failure opens large, at an address of its own; a search over all of the page shows those that match.

{
  const MOST = 48; // matches that are shown

  /** Return all cards of the page with what is known of each: its gallery, its words and its address. */
  function allCards() {
    const taken = new Map();
    return [...document.querySelectorAll(".failures > li[data-sample]")].map((item) => {
      const section = item.closest("section");
      const start = `${section?.id || section?.getAttribute("aria-labelledby")}/sample/${item.dataset.sample}`;
      taken.set(start, (taken.get(start) ?? 0) + 1);
      const address = taken.get(start) > 1 ? `${start}~${taken.get(start)}` : start; // one sample may fail in several ways
      const words = [item.textContent, item.dataset.sample, ...[...item.querySelectorAll("[data-whole]")].map((each) => each.dataset.whole)];
      return { item, address, gallery: item.closest("[data-gallery]")?.dataset.gallery ?? "Failure", section, words: words.join(" ").toLowerCase() };
    });
  }

  /** Return the cards of the gallery that a card is of. */
  const among = (card, cards) => cards.filter(({ gallery, section }) => gallery === card.gallery && section === card.section);

  /** Put a button over a card; what it holds is read as it is. */
  function addOpener(item, open) {
    const words = item.querySelector("dd bdi")?.textContent ?? item.dataset.sample;
    const button = make("button", { type: "button", className: "opener", ariaLabel: `Open large: ${words}` });
    button.addEventListener("click", open);
    item.append(button);
    return button;
  }

  class Viewer {
    constructor(cards) {
      this.cards = cards;
      this.place = 0;
      this.title = make("h2", { id: "viewer-title", tabIndex: -1 });
      this.body = make("div", { className: "viewed" });
      this.said = make("output", {});
      const button = (words, act) => {
        const made = make("button", { type: "button" }, words);
        made.addEventListener("click", act);
        return made;
      };
      this.before = button("Previous", () => this.go(-1));
      this.after = button("Next", () => this.go(1));
      const foot = make("p", { className: "viewer-tools" }, this.before, this.after, button("Copy link", () => this.copy()), this.said, button("Close", () => this.dialog.close()));
      this.dialog = make("dialog", { className: "viewer" }, this.title, this.body, foot);
      this.dialog.setAttribute("aria-labelledby", "viewer-title");
      this.dialog.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step && !event.altKey && !event.ctrlKey && !event.metaKey) { event.preventDefault(); this.go(step); }
      });
      this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
      this.dialog.addEventListener("close", () => this.closed());
      document.body.append(this.dialog);
    }

    /** Open a card; arrows go through those that it is shown among. */
    open(card, among, opener = null) {
      Object.assign(this, { among, opener, place: among.indexOf(card) });
      this.show();
      if (!this.dialog.open) this.dialog.showModal();
    }

    go(step) {
      this.place = Math.min(Math.max(this.place + step, 0), this.among.length - 1);
      this.show();
    }

    show() {
      const card = this.among[this.place];
      const copy = card.item.cloneNode(true);
      copy.querySelector(".opener")?.remove();
      for (const each of copy.querySelectorAll("[data-whole]")) each.textContent = each.dataset.whole;
      const sample = make("div", {}, make("dt", {}, "Sample"), make("dd", {}, make("bdi", {}, card.item.dataset.sample)));
      if (!/\bSample\b/.test([...copy.querySelectorAll("dt")].map((each) => each.textContent).join(" "))) copy.querySelector("dl").append(sample);
      const count = this.among.length > 1 ? `, ${this.place + 1} of ${this.among.length}` : "";
      const near = copy.querySelector("template.nearest");
      near?.replaceWith(make("div", { className: "nearest" }, near.content.cloneNode(true)));
      this.title.textContent = `${card.gallery}${count}`;
      this.body.replaceChildren(...copy.childNodes);
      this.said.textContent = "";
      this.before.disabled = this.place === 0;
      this.after.disabled = this.place === this.among.length - 1;
      if (this.dialog.open && document.activeElement?.disabled) this.title.focus();
      history.replaceState(null, "", `#${encodeURI(card.address).replaceAll("#", "%23")}`);
    }

    async copy() {
      try {
        await navigator.clipboard.writeText(location.href);
        this.said.textContent = "Copied";
      } catch {
        this.said.textContent = location.href; // to copy by hand
      }
    }

    /** Give the focus back to the card that was shown last, or to the match that it was opened from. */
    closed() {
      const { item } = this.among[this.place];
      history.replaceState(null, "", location.pathname + location.search);
      if (this.opener?.isConnected) return this.opener.focus();
      for (let fold = item.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
      item.querySelector(".opener").focus();
    }
  }

  /** Put a field before the first gallery's section that shows the cards that hold some words. */
  function addSearch(cards, viewer) {
    const kind = document.querySelector("main").dataset.cards ?? "failures";
    const field = make("input", { type: "search", autocomplete: "off", id: "failure-search" });
    const status = make("output", {});
    const found = make("ol", { className: "failures terse found", hidden: true });
    const frame = make("search", { className: "search failure-search" }, make("label", {}, `Search the ${kind} `, field), " ", status, found);
    const place = document.querySelector("[data-failure-search]") ?? cards[0].item.closest("section");
    place.before(frame);
    field.addEventListener("input", () => {
      const asked = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const matching = asked.length ? cards.filter(({ words }) => asked.every((word) => words.includes(word))) : [];
      const shown = matching.slice(0, MOST);
      found.replaceChildren(...shown.map((card) => {
        const item = card.item.cloneNode(true);
        item.querySelector(".opener")?.remove();
        const opener = addOpener(item, () => viewer.open(card, shown, opener));
        return item;
      }));
      found.hidden = !shown.length;
      const more = matching.length > MOST ? `, the first ${MOST} of them here` : "";
      status.textContent = asked.length ? `${matching.length} of ${cards.length} ${kind}${more}` : "";
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const cards = allCards();
    if (!cards.length) return;
    const viewer = new Viewer(cards);
    for (const card of cards) addOpener(card.item, () => viewer.open(card, among(card, cards)));
    addSearch(cards, viewer);
    const follow = () => {
      let asked = location.hash.slice(1);
      try { asked = decodeURIComponent(asked); } catch { /* it is no address of ours */ }
      const card = cards.find(({ address }) => address === asked);
      if (card) viewer.open(card, among(card, cards));
    };
    addEventListener("hashchange", follow);
    follow();
  });
}
