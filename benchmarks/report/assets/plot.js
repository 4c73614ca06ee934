"use strict";

const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

function table(heads, rows) {
  const cells = (tag, values) => values.map((value) => element(tag, {}, String(value)));
  const head = element("thead", {}, element("tr", {}, ...cells("th", heads)));
  const body = rows.map(([first, ...rest]) =>
    element("tr", {}, element("th", { scope: "row" }, String(first)), ...cells("td", rest)));
  return element("table", {}, head, element("tbody", {}, ...body));
}

const regular = (count, start = -90, radius = 1) =>
  Array.from({ length: count }, (_, i) => {
    const angle = ((start + (360 / count) * i) * Math.PI) / 180;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
const star = regular(10).map(([x, y], i) => (i % 2 ? [0.45 * x, 0.45 * y] : [x, y]));
const plus = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]]
  .map(([x, y]) => [0.33 * x, 0.33 * y]);
const turned = plus.map(([x, y]) => [0.75 * (x - y), 0.75 * (x + y)]);
const MARKERS = {
  o: regular(24, 0, 0.9),
  s: [[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]],
  "^": regular(3), v: regular(3, 90), "<": regular(3, 180), ">": regular(3, 0),
  D: regular(4), d: regular(4).map(([x, y]) => [0.6 * x, y]),
  p: regular(5), h: regular(6), P: plus, X: turned, "*": star,
};

function marker(shape, x, y, radius) {
  const corners = MARKERS[shape].map(([dx, dy]) => `${(x + radius * dx).toFixed(1)},${(y + radius * dy).toFixed(1)}`);
  return `M${corners.join("L")}Z`;
}

/** Maps values to pixels, and says where its ticks are. On a log axis, zero has a place of its own. */
class Axis {
  constructor({ label, log = false, range, zero = false }, from, to) {
    Object.assign(this, { label, log, zero, from, to });
    this.value = log ? Math.log10 : (v) => v;
    let [low, high] = range.map(this.value);
    if (!(high > low)) [low, high] = log ? [low - 0.3, low + 0.3] : [low - (Math.abs(low) || 1) / 2, low + (Math.abs(low) || 1) / 2];
    Object.assign(this, { low, high });
    if (zero) this.from += (to - from) * 0.08;
  }

  at(v) {
    if (this.log && v <= 0) return this.zero && v === 0 ? this.from - (this.to - this.from) * 0.08 : NaN;
    return this.from + ((this.value(v) - this.low) / (this.high - this.low)) * (this.to - this.from);
  }

  ticks(most) {
    const found = this.log ? this.decades(most) : this.even(most);
    return this.zero ? [0, ...found] : found;
  }

  even(most, low = this.low, high = this.high) {
    const step = niceStep((high - low) / most);
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    return Array.from({ length: Math.max(last - first + 1, 0) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  }

  decades(most) {
    for (const factors of [[1, 2, 5], [1, 3], [1]]) {
      const found = [];
      for (let e = Math.floor(this.low); e <= Math.ceil(this.high); e++)
        for (const f of factors) {
          const v = Number(`${f}e${e}`);
          if (Math.log10(v) >= this.low - 1e-9 && Math.log10(v) <= this.high + 1e-9) found.push(v);
        }
      if (found.length <= most) return found.length > 1 ? found : this.even(most, 10 ** this.low, 10 ** this.high);
    }
    const whole = this.even(most).filter(Number.isInteger);
    return whole.map((e) => Number(`1e${e}`));
  }
}

function bounds(values) {
  return values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
}

function niceStep(rough) {
  const size = 10 ** Math.floor(Math.log10(rough));
  return size * [1, 2, 5, 10].find((factor) => factor * size >= rough);
}

function tickText(value, log) {
  if (value === 0) return "0";
  const small = Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5;
  return (log && small ? value.toExponential().replace("e+", "e") : String(value)).replaceAll("-", "−");
}

let plots = 0;

/**
 * A figure with points that pointer and keyboard can reach; a small one has no table of its data.
 *
 * `draw` takes `{name, x, y, series, cap, shade, radius, row}`: `x` and `y` as `Axis` does; a line at y = `cap` and a
 * shade over the x of `shade`, if given; a series has a `method` (`label`, `title`, `color`, `dark`, `marker`), is
 * `quiet` or not, and has `points` (`x`, `y`, and what `tip` makes of them), `paths` (`kind`, `xy`), `bands` (`area`,
 * `median`: staircases of `[x, y]`) and `ribbons` (two lines of `[x, y]` each).
 */
class Plot {
  constructor(figure, tip, trace, small = false) {
    Object.assign(this, { figure, tip, trace, small, targets: [], active: -1, clip: `clip${plots++}` });
    this.host = element("div", { class: "plot", tabindex: "0", role: "group" });
    this.above = element("p", { class: "axis", "aria-hidden": "true" });
    this.area = element("div", { class: "area" });
    this.below = element("p", { class: "axis below", "aria-hidden": "true" });
    this.host.append(this.above, this.area, this.below);
    this.tipBox = element("div", { class: "tip", hidden: "" });
    this.spoken = element("p", { class: "hidden", "aria-live": "polite" });
    this.details = element("details", {}, element("summary", {}, "Data of this figure"));
    this.details.addEventListener("toggle", () => this.tabulate());
    figure.append(this.host, this.spoken, ...(small ? [] : [this.details]));
    for (const kind of ["pointermove", "pointerdown"]) this.host.addEventListener(kind, (event) => this.point(event));
    this.host.addEventListener("pointerleave", (event) => event.pointerType === "touch" || this.select(-1));
    this.host.addEventListener("keydown", (event) => this.key(event));
    this.host.addEventListener("focus", () => this.active < 0 && this.host.matches(":focus-visible") && this.select(0, true));
    this.host.addEventListener("blur", () => this.select(-1));
    let width = 0;
    new ResizeObserver(([entry]) => {
      if (this.what && Math.abs(entry.contentRect.width - width) > 1) this.draw(this.what);
      width = entry.contentRect.width;
    }).observe(this.host);
  }

  draw(what) {
    this.what = what;
    this.active = -1;
    const width = this.area.clientWidth || 640;
    const height = this.small ? 210 : Math.round(Math.min(Math.max(width * 0.6, 290), 430));
    const bottom = height - 26;
    const y = new Axis(what.y, bottom, 10);
    const yTicks = y.ticks(this.small ? 4 : 7).map((v) => [v, tickText(v, y.log)]);
    const left = 14 + 7 * Math.max(1, ...yTicks.map(([, text]) => text.length));
    const x = new Axis(what.x, left, width - 14);
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.summary() });
    const clip = svg("clipPath", { id: this.clip }, svg("rect", { x: left - 7, y: 3, width: width - left, height: bottom + 4 }));
    root.append(svg("defs", {}, clip), ...this.frame(x, y, yTicks, left, width, bottom));
    const layer = svg("g", { "clip-path": `url(#${this.clip})` });
    if (what.shade) {
      const [from, to] = what.shade.map((v) => x.at(v));
      layer.append(svg("rect", { class: "shade", x: from, y: 10, width: to - from, height: bottom - 10 }));
    }
    if (what.cap !== undefined) layer.append(svg("path", { class: "cap", d: `M${left},${y.at(what.cap)}H${width - 14}` }));
    this.targets = [];
    for (const series of what.series) layer.append(this.series(series, x, y, { left, right: width - 7, top: 3 }));
    this.traced = svg("path", { class: "traced" });
    this.ring = svg("circle", { class: "ring", r: 8, visibility: "hidden" });
    layer.append(this.traced);
    root.append(layer, this.ring);
    this.axes = { x, y };
    this.tipBox.hidden = true;
    this.area.replaceChildren(root, this.tipBox);
    this.above.textContent = y.label;
    this.below.textContent = x.label;
    this.host.setAttribute("aria-label", `${what.name}: ${this.targets.length} points; arrow keys move between them`);
    this.tabulate();
  }

  frame(x, y, yTicks, left, width, bottom) {
    const parts = [];
    const text = (content, attributes) => parts.push(svg("text", attributes, content));
    for (const [v, label] of yTicks) {
      parts.push(svg("path", { class: "grid", d: `M${left},${y.at(v)}H${width - 14}` }));
      text(label, { x: left - 7, y: y.at(v) + 4, "text-anchor": "end" });
    }
    for (const v of x.ticks(Math.max(3, Math.floor((width - left) / 64)))) {
      parts.push(svg("path", { class: "grid", d: `M${x.at(v)},10V${bottom}` }));
      text(tickText(v, x.log), { x: x.at(v), y: bottom + 17, "text-anchor": "middle" });
    }
    parts.push(svg("path", { class: "base", d: `M${left},${bottom}H${width - 14}` }));
    return parts;
  }

  series({ method, quiet, points, paths = [], bands = [], ribbons = [] }, x, y, edge) {
    const group = svg("g", { class: quiet ? "series quiet" : "series", "data-method": method.label, style: `--light:${method.color};--dark:${method.dark}` });
    const line = (xy) => {
      const seen = xy.map(([a, b]) => [x.at(a), y.at(b)]).filter((p) => p.every(Number.isFinite));
      return seen.length ? `M${seen.map((p) => p.map((v) => v.toFixed(1)).join(",")).join("L")}` : "";
    };
    for (const [low, high] of ribbons) group.append(svg("path", { class: "band", d: `${line([...low, ...high.toReversed()])}Z` }));
    for (const band of bands) group.append(...staircases(band, x, y, edge));
    for (const { kind, xy } of paths) group.append(svg("path", { class: kind, d: line(xy) }));
    let drawn = "";
    let count = 0;
    for (const point of points) {
      const [px, py] = [x.at(point.x), y.at(point.y)];
      if (!Number.isFinite(px) || !Number.isFinite(py) || px < edge.left - 7 || px > edge.right || py < edge.top || py > y.from + 7) continue;
      this.targets.push({ ...point, method, px, py });
      drawn += marker(method.marker, px, py, quiet ? 3 : this.what.radius ?? 5);
      count += 1;
    }
    group.append(svg("path", { class: "points", "data-count": count, d: drawn }));
    return group;
  }

  point(event) {
    const box = this.area.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let distance = 28 ** 2;
    this.targets.forEach((target, i) => {
      const d = (target.px - px) ** 2 + (target.py - py) ** 2;
      if (d <= distance) [best, distance] = [i, d];
    });
    this.select(best);
  }

  key(event) {
    const last = this.targets.length - 1;
    if (event.key === "Escape") return this.select(-1);
    const next = {
      ArrowRight: () => Math.min(this.active + 1, last),
      ArrowLeft: () => Math.max(this.active - 1, 0),
      ArrowDown: () => this.neighbour(1),
      ArrowUp: () => this.neighbour(-1),
      Home: () => 0,
      End: () => last,
    }[event.key];
    if (!next || last < 0) return undefined;
    event.preventDefault();
    return this.select(next(), true);
  }

  /** The first point of the next or previous method. */
  neighbour(step) {
    const starts = this.targets.flatMap((target, i) => (i && target.method === this.targets[i - 1].method ? [] : [i]));
    const own = starts.findLastIndex((start) => start <= this.active);
    return starts[Math.min(Math.max(own + step, 0), starts.length - 1)];
  }

  select(index, speak = false) {
    if (index === this.active && !speak) return;
    this.active = index;
    const target = this.targets[index];
    this.ring.setAttribute("visibility", target ? "visible" : "hidden");
    this.tipBox.hidden = !target;
    this.traced.setAttribute("d", "");
    if (!target) return;
    this.ring.setAttribute("cx", target.px);
    this.ring.setAttribute("cy", target.py);
    const trace = (this.trace?.(target) ?? [])
      .map(([a, b]) => [this.axes.x.at(a), this.axes.y.at(b)]).filter((p) => p.every(Number.isFinite));
    if (trace.length) this.traced.setAttribute("d", `M${trace.map((p) => p.join(",")).join("L")}`);
    const { content, text } = this.tip(target, this.under(target));
    this.tipBox.replaceChildren(...content);
    const { clientWidth, clientHeight } = this.area;
    const { offsetWidth, offsetHeight } = this.tipBox;
    const right = target.px + 16 + offsetWidth <= clientWidth;
    const above = target.py > clientHeight / 2;
    const x = right ? target.px + 16 : Math.max(Math.min(target.px - 16 - offsetWidth, clientWidth - offsetWidth), 0);
    const y = above ? Math.max(target.py - offsetHeight - 14, -offsetHeight / 2) : target.py + 14;
    Object.assign(this.tipBox.style, { left: `${x}px`, top: `${y}px` });
    if (speak) this.spoken.textContent = text;
  }

  /** The other methods with a point under this one. */
  under({ px, py, method }) {
    const near = this.targets.filter((other) => other.method !== method && (other.px - px) ** 2 + (other.py - py) ** 2 < 4);
    return [...new Set(near.map((other) => other.method.title))];
  }

  fade(label) {
    for (const group of this.host.querySelectorAll(".series")) {
      group.classList.toggle("faded", label !== null && group.dataset.method !== label);
      group.classList.toggle("lit", group.dataset.method === label);
    }
  }

  summary() {
    const { name, x, y, series } = this.what;
    const span = (points, key) => {
      const [low, high] = bounds(points.map((point) => point[key]));
      return `${number(low)} to ${number(high)}`;
    };
    const parts = series.filter(({ points }) => points.length).map(({ method, points }) =>
      `${method.title}: ${points.length} points, ${y.label} ${span(points, "y")}, ${x.label} ${span(points, "x")}`);
    return `${name}. ${parts.join("; ") || "No points to show"}.`;
  }

  tabulate() {
    this.details.querySelector(".data")?.remove();
    if (!this.details.open) return;
    const { x, y, series, row } = this.what;
    const rows = series.flatMap(({ method, points }) =>
      points.map((point) => [method.title, ...row.map(([, value]) => value(point)), number(point.x), number(point.y)]));
    const content = table(["Method", ...row.map(([name]) => name), x.label, y.label], rows);
    this.details.append(element("div", { class: "data", tabindex: "0", role: "region", "aria-label": `Data: ${this.what.name}` }, content));
  }
}

/** The area between two attainment surfaces and the lines of those asked for, as staircases. */
function staircases({ area, median }, x, y, { right, top }) {
  const steps = (xy) => {
    const corners = xy.map(([a, b]) => [x.at(a), y.at(b)]).filter((p) => p.every(Number.isFinite));
    if (!corners.length) return [];
    const path = [[corners[0][0], top]];
    for (const [px, py] of corners) path.push([px, path[path.length - 1][1]], [px, py]);
    return [...path, [right, path[path.length - 1][1]]];
  };
  const text = (points) => points.map((p) => p.map((v) => v.toFixed(1)).join(",")).join("L");
  const [low, high] = area.map(steps);
  const drawn = [];
  if (low.length && high.length) drawn.push(svg("path", { class: "band", d: `M${text([...low, ...high.reverse()])}Z` }));
  if (median) drawn.push(svg("path", { class: "median", d: `M${text(steps(median))}` }));
  return drawn;
}
