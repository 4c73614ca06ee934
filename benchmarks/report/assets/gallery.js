/** The opening figures: what every experiment compares, a small figure each, with one set of controls. */
class Gallery {
  constructor(root, blocks) {
    const compared = blocks.filter(({ relative, relative_points: inside }) => relative.length && inside.length);
    this.sweeps = compared.map((data) => new Sweep(data));
    const methods = new Map(compared.flatMap((data) => data.methods.filter(({ quiet }) => !quiet)).map((m) => [m.label, m]));
    this.hidden = new Set();
    this.others = true;
    const splits = ["train", "validation", "test"].filter((split) => compared.some((data) => data.splits.includes(split)));
    this.split = splits.at(-1);
    const form = root.querySelector(".controls");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.append(
      segments("Split", "gallery-split", splits.map((s) => [s, s]), this.split, (split) => this.set({ split })),
      group("Methods", "legend", ...[...methods.values()].map((method) => this.button(method)), this.rest(compared)),
    );
    const cards = root.querySelector(".cards");
    this.plots = this.sweeps.map((sweep) => {
      const figure = card(sweep.data);
      cards.append(figure);
      return new Plot(figure, (target, under) => sweep.tip(target, under), undefined, true);
    });
    for (const image of document.querySelectorAll("details.experiment img[data-card]")) cards.append(picture(image));
    this.draw();
    root.hidden = !cards.children.length;
  }

  button(method) {
    return toggle([key(method), method.title], { "data-method": method.label }, (shown) => {
      if (shown) this.hidden.delete(method.label);
      else this.hidden.add(method.label);
      this.draw();
    });
  }

  /** A button for all methods in grey, where there are any. */
  rest(blocks) {
    if (!blocks.some((data) => data.methods.some(({ quiet }) => quiet))) return "";
    return toggle(["the others, in grey"], {}, (others) => this.set({ others }));
  }

  set(values) {
    Object.assign(this, values);
    this.draw();
  }

  draw() {
    this.sweeps.forEach((sweep, i) => {
      const { methods, splits } = sweep.data;
      const hidden = ({ label, quiet }) => (quiet ? !this.others : this.hidden.has(label));
      sweep.state.split = splits.includes(this.split) ? this.split : splits.at(-1);
      sweep.state.hidden = new Set(methods.flatMap((method, index) => (hidden(method) ? [index] : [])));
      sweep.drawRelative(this.plots[i]);
    });
  }
}

/** A figure with a caption that leads to its experiment. */
function card(data) {
  const link = element("a", { href: `#${data.id}` }, data.title);
  return element("figure", { "data-card": data.id }, element("figcaption", {}, link, element("span", { class: "quiet" }, data.place)));
}

/** An experiment's own picture, shown once more. */
function picture(image) {
  const { id, title, place } = image.dataset;
  const figure = card({ id, title, place });
  const copy = image.cloneNode();
  copy.removeAttribute("data-card");
  figure.append(copy);
  enlargeable(copy);
  return figure;
}

/** Have a picture open as wide as the window, and no narrower than its words can be read. */
function enlargeable(image) {
  const button = element("button", { type: "button", class: "picture", title: "Show larger" });
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const close = element("form", { method: "dialog" }, element("button", {}, "Close"));
    const dialog = element("dialog", {}, close, element("div", { class: "scroll" }, image.cloneNode()));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Heads that sort the rows of their table: first the least, then the greatest; what has no value stays last. */
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = element("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows].sort((a, b) => compare(value(a), value(b), down));
      table.tBodies[0].append(...rows);
    });
  });
}

function compare(a, b, down) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [Number(a), Number(b)];
  const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  return down ? -order : order;
}

/** Open the experiment that the address names. */
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target?.scrollIntoView();
}

const blocks = JSON.parse(document.getElementById("data").textContent);
for (const data of blocks) {
  const place = document.getElementById(data.id);
  const draw = () => place.open && !place.dataset.drawn && (place.dataset.drawn = "yes") && new Experiment(data);
  place.addEventListener("toggle", draw);
  draw();
}
for (const place of document.querySelectorAll("table.sortable")) sortable(place);
const gallery = document.getElementById("figures");
if (gallery) new Gallery(gallery, blocks);
for (const image of document.querySelectorAll("figure.plain img")) enlargeable(image);
addEventListener("hashchange", reveal);
if (location.hash) reveal();
