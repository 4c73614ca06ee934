/** One experiment: its controls, and the figures that follow them. */
class Experiment extends Sweep {
  constructor(data) {
    super(data);
    this.root = document.getElementById(data.id);
    const lams = [...new Set(data.runs.lam)].sort((a, b) => a - b);
    const weights = [...new Set(data.runs.lam.filter((_, run) => !data.methods[data.runs.method[run]].bound))].sort((a, b) => a - b);
    Object.assign(this.state, {
      lam: weights[Math.floor(weights.length / 2)] ?? lams[Math.floor(lams.length / 2)],
      metric: "main",
      curve: "main",
      diagnostic: Object.keys(data.curves.diagnostics)[0],
      trajectories: false,
      bands: new Set(data.runs.seed).size > 2,
      whole: false,
    });
    this.plots = {};
    const tip = (target, under) => this.tip(target, under);
    const without = { diagnostic: !this.state.diagnostic, relative: !data.relative_points.length };
    for (const name of ["relative", "front", "lam", "curve", "diagnostic"]) {
      const figure = this.root.querySelector(`[data-figure="${name}"]`);
      if (without[name]) figure.remove();
      else this.plots[name] = new Plot(figure, tip, name === "front" ? (target) => this.trajectory(target.run) : undefined);
    }
    this.controls(lams);
    this.runs();
    this.draw();
  }

  controls(lams) {
    const { data, state, root } = this;
    const form = root.querySelector(".controls");
    form.addEventListener("submit", (event) => event.preventDefault());
    if (data.splits.length) form.append(this.segments("Split", "split", data.splits.map((s) => [s, s])));
    if (data.protocols.length > 1)
      form.append(this.segments("Learning rate", "protocol", data.protocols.map((p, i) => [i, p.name])));
    const buttons = data.methods.map((method, index) => {
      const button = toggle([key(method), method.title], { "data-method": method.label }, (shown) => {
        if (shown) state.hidden.delete(index);
        else state.hidden.add(index);
        this.draw();
      });
      const fade = (label) => () => Object.values(this.plots).forEach((plot) => plot.fade(label));
      for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, fade(method.label));
      for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, fade(null));
      return button;
    });
    form.append(group("Methods", "legend", ...buttons));
    const options = (name, ...nodes) => this.plots[name]?.host.before(element("div", { class: "options" }, ...nodes));
    const named = (names) => names.map((name) => [name, name]);
    const boxes = [this.check("Trajectories", "trajectories"), this.check("Beyond the box", "whole")];
    if (data.attainment.length) boxes.splice(1, 0, this.check("Attainment bands over seeds", "bands"));
    options("front", ...boxes);
    options("lam", this.pick("Metric", "metric", named(data.metrics)));
    const grid = lams.map((lam) => [lam, number(lam)]);
    options("curve", this.pick("Metric", "curve", named(data.metrics)), this.pick("λ", "lam", grid, Number));
    const measured = Object.keys(data.curves.diagnostics).map((name) => [name, data.diagnostics[name]]);
    options("diagnostic", this.pick("Show", "diagnostic", measured), this.pick("λ", "lam", grid, Number));
  }

  segments(title, name, choices) {
    return segments(title, `${this.data.id}-${name}`, choices, this.state[name], (value) => this.set(name, value));
  }

  pick(title, name, choices, convert = String) {
    const select = element("select", { name });
    for (const [value, text] of choices) {
      const option = element("option", { value }, text);
      option.selected = value === this.state[name];
      select.append(option);
    }
    select.addEventListener("change", () => {
      for (const other of this.root.querySelectorAll(`select[name="${name}"]`)) other.value = select.value;
      this.set(name, convert(select.value));
    });
    return element("label", { class: "pick" }, element("span", {}, title), select);
  }

  check(title, name) {
    const input = element("input", { type: "checkbox", name });
    input.checked = this.state[name];
    input.addEventListener("change", () => this.set(name, input.checked));
    return element("label", { class: "check" }, input, title);
  }

  set(name, value) {
    this.state[name] = value;
    this.draw();
  }

  draw() {
    if (this.plots.relative) this.drawRelative(this.plots.relative);
    this.drawFront();
    this.drawLam();
    this.drawCurves("curve", this.state.split, this.state.curve);
    this.drawCurves("diagnostic", "diagnostics", this.state.diagnostic);
    if (this.table?.open) this.tabulate();
  }

  drawFront() {
    const { data, state } = this;
    const { split } = state;
    const protocol = data.protocols[state.protocol]?.name;
    const own = (list, index) => this.own(list).filter((item) => item.method === index);
    const xy = (item) => item.aux.map((aux, i) => [aux, item.main[i]]);
    const box = data.boxes[split];
    const shown = this.shown.map((each) => ({
      ...each, points: this.points(each.runs, (run) => this.ends(run, "aux"), (run) => this.ends(run, "main")),
    }));
    const all = shown.flatMap(({ points }) => points);
    let [right, top] = box && !state.whole ? [box.aux[1], 2 * box.main[1]] : [Infinity, Infinity];
    if (!all.some((p) => p.x <= right && p.y < top / 2)) [right, top] = [Infinity, Infinity];
    const series = quietFirst(shown.map(({ method, index, runs, points }) => {
      const surfaces = own(data.attainment, index);
      const [lower, median, upper] = [25, 50, 75].map((share) => surfaces.find((surface) => surface.percentile === share));
      const bands = state.bands && surfaces.length
        ? [{ area: method.quiet || !lower || !upper ? [[], []] : [xy(lower), xy(upper)], median: median ? xy(median) : null }]
        : [];
      const fronts = bands.length ? [] : own(data.fronts, index);
      const paths = fronts.map((front) => ({ kind: "front", xy: xy(front).filter(([, main]) => main <= top) }));
      if (state.trajectories) {
        const seed = Math.min(...runs.map((run) => data.runs.seed[run]));
        const first = runs.filter((run) => data.runs.seed[run] === seed);
        paths.unshift(...first.map((run) => ({ kind: "trajectory", xy: this.trajectory(run) })));
      }
      return { method, quiet: method.quiet, points, paths, bands };
    }));
    const [x, y] = [this.axis("aux"), this.axis("main", `, ${split}`)];
    const near = all.filter((p) => p.x <= right && p.y <= top && (p.y > 0 || !y.log) && (p.x > 0 || !x.log));
    const outside = all.length - near.length;
    const beyond = outside ? ` (${outside} end point${outside > 1 ? "s" : ""} outside)` : "";
    this.plots.front.draw({
      name: `Front of ${data.title}, ${split}, learning rate ${protocol}${beyond}`,
      x: { ...x, range: extent(near, "x", x.log) },
      y: { ...y, label: y.label + beyond, range: extent(near, "y", y.log, top) },
      cap: box?.main[1],
      series,
      row: this.columns(),
    });
  }

  drawLam() {
    const { metric, split } = this.state;
    const { runs } = this.data;
    const series = this.shown.filter(({ method }) => !method.bound).map(({ method, runs: own }) => {
      const points = this.points(own, (run) => runs.lam[run], (run) => this.ends(run, metric));
      const groups = Map.groupBy(points, (point) => runs.lr[point.run]);
      const paths = [...groups.values()].map((group) => ({ kind: "mean", xy: means(group) }));
      return { method, points, paths };
    });
    const all = series.flatMap(({ points }) => points);
    const y = this.axis(metric, `, ${split}`);
    this.plots.lam.draw({
      name: `λ against ${metric}, ${split}`,
      x: { label: "λ", log: true, zero: all.some((p) => p.x === 0), range: extent(all.filter((p) => p.x > 0), "x", true) },
      y: { ...y, range: extent(all, "y", y.log) },
      series,
      row: this.columns(),
    });
  }

  drawCurves(name, group, quantity) {
    if (!this.plots[name]) return;
    const { data, state } = this;
    const values = data.curves[group]?.[quantity] ?? [];
    const series = this.shown.map(({ method, runs }) => {
      const own = runs.filter((run) => data.runs.lam[run] === state.lam);
      const rows = own.map((run) => this.epochs(run).map((epoch, row) => ({ x: epoch, y: values[run]?.[row] ?? null, run, row }))
        .filter((point) => point.y !== null && point.x !== null));
      return { method, points: rows.flat(), paths: rows.map((row) => ({ kind: "run", xy: row.map((p) => [p.x, p.y]) })) };
    });
    const all = series.flatMap(({ points }) => points);
    const measured = group === "diagnostics";
    const y = measured ? { label: data.diagnostics[quantity], log: quantity.endsWith("_norm") } : this.axis(quantity, `, ${group}`);
    this.plots[name].draw({
      name: `${y.label} over epochs at λ = ${number(state.lam)}`,
      x: { label: "epoch", range: extent(all, "x") },
      y: { ...y, range: extent(all, "y", y.log) },
      series,
      row: this.columns(),
    });
  }

  points(runs, x, y) {
    return runs.map((run) => ({ x: x(run), y: y(run), run })).filter((p) => p.x !== null && p.y !== null)
      .sort((a, b) => a.x - b.x);
  }

  trajectory(run) {
    const { aux, main } = this.data.curves[this.state.split] ?? {};
    return aux && main ? aux[run].map((value, i) => [value, main[run][i]]).filter((p) => !p.includes(null)) : [];
  }

  runs() {
    this.table = this.root.querySelector("details[data-runs]");
    this.table.addEventListener("toggle", () => this.tabulate());
  }

  tabulate() {
    this.table.querySelector(".data")?.remove();
    if (!this.table.open) return;
    const { runs, methods, metrics } = this.data;
    const rows = runs.id.map((id, run) => [id, methods[runs.method[run]].title, number(runs.lam[run]), runs.seed[run],
      number(runs.lr[run]), runs.status[run], ...metrics.map((metric) => number(this.ends(run, metric)))]);
    const heads = ["Run", "Method", "λ", "Seed", "Learning rate", "Status", ...metrics.map((m) => `${m}, ${this.state.split}`)];
    this.table.append(element("div", { class: "data", tabindex: "0", role: "region", "aria-label": "All runs" }, table(heads, rows)));
  }
}

/** The range of the points with a margin, up to `cap`. */
function extent(points, name, log = false, cap = Infinity) {
  const values = points.map((point) => point[name]).filter((v) => !log || v > 0);
  if (!values.length) return log ? [0.1, 1] : [0, 1];
  const [low, high] = bounds(values);
  if (log) {
    const margin = Math.max((high / low) ** 0.05, 1.02);
    return [low / margin, Math.min(high * margin, cap)];
  }
  const margin = 0.05 * (high - low);
  return [low - margin, Math.min(high + margin, cap)];
}

/** The mean of y at each x. */
function means(points) {
  return [...Map.groupBy(points, (point) => point.x)]
    .map(([x, group]) => [x, group.reduce((sum, point) => sum + point.y, 0) / group.length])
    .sort((a, b) => a[0] - b[0]);
}
