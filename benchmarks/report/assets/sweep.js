/** The runs of one experiment, and what is drawn of them in more than one place. */
class Sweep {
  constructor(data) {
    this.data = data;
    this.state = {
      split: data.splits.includes("test") ? "test" : data.splits[0] ?? "",
      protocol: 0,
      hidden: new Set(),
    };
  }

  /** The methods that are not hidden, with their runs under the protocol shown. */
  get shown() {
    const { protocols, runs, methods } = this.data;
    const used = protocols[this.state.protocol]?.runs ?? [];
    return methods
      .map((method, index) => ({ method, index, runs: used.filter((run) => runs.method[run] === index) }))
      .filter(({ index }) => !this.state.hidden.has(index));
  }

  axis(metric, over = "") {
    const { labels } = this.data;
    const name = labels[metric] && ["main", "aux"].includes(metric) ? labels[metric] : metric;
    return { label: `${name}${over}`, log: Boolean(labels[`log_${metric}`]) };
  }

  ends(run, metric) {
    return this.data.ends[this.state.split]?.[metric]?.[run] ?? null;
  }

  /** Those of a list that are of the protocol and split shown. */
  own(list) {
    const protocol = this.data.protocols[this.state.protocol]?.name;
    return list.filter((item) => item.protocol === protocol && item.split === this.state.split);
  }

  drawRelative(plot) {
    const { data, state } = this;
    const curves = this.own(data.relative);
    const ends = this.own(data.relative_points).flatMap(({ run, aux, ratio }) => run.map((r, i) => ({ x: aux[i], y: ratio[i], run: r })));
    const box = data.boxes[state.split];
    const inner = (aux) => !plot.small || !box || (aux >= box.tighter[0] && aux <= box.tighter[1]);
    const medians = curves.filter((item) => !data.methods[item.method].quiet)
      .flatMap((item) => item.median.filter((_, i) => inner(item.aux[i])));
    const [low, high] = bounds([...medians, 1 / 1.02, 1.02]);
    const [least, most] = [Math.max(low / 1.01, 1 / data.widest), Math.min(high * 1.01, data.widest)];
    const seen = (ratio) => Math.min(Math.max(ratio, least), most);
    const series = quietFirst(this.shown.map(({ method, index }) => {
      const points = ends.filter(({ run }) => data.runs.method[run] === index).map((p) => ({ ...p, y: seen(p.y) })).sort((a, b) => a.x - b.x);
      const curve = curves.find((item) => item.method === index);
      const steps = (name) => curve.aux.flatMap((aux, i) => [...(i ? [[aux, seen(curve[name][i - 1])]] : []), [aux, seen(curve[name][i])]]);
      const paths = curve ? [{ kind: "median", xy: steps("median") }] : [];
      const ribbons = curve && !method.quiet ? [[steps("low"), steps("high")]] : [];
      return { method, quiet: method.quiet, points, paths, ribbons };
    }));
    const drawn = [...curves.flatMap((item) => item.median), ...ends.map(({ y }) => y)];
    const beyond = drawn.some((ratio) => ratio !== seen(ratio)) ? "; what lies beyond is drawn at the edge" : "";
    plot.draw({
      name: `Main loss relative to the sum of ${data.title}, ${state.split}`,
      x: { label: this.axis("aux").label, range: box ? box.aux : [0, 1] },
      y: { label: plot.small ? "" : `main loss relative to the sum, ${state.split}${beyond}`, log: true, range: [least, most] },
      cap: 1,
      shade: box?.tighter,
      radius: plot.small ? 2.5 : 3.5,
      series,
      row: this.columns(),
    });
  }

  epochs(run) {
    return this.data.curves.grids[this.data.curves.grid[run]];
  }

  columns() {
    const { lam, seed, lr } = this.data.runs;
    return [["λ", ({ run }) => number(lam[run])], ["Seed", ({ run }) => seed[run]], ["Learning rate", ({ run }) => number(lr[run])],
      ["Run", ({ run }) => this.data.runs.id[run]]];
  }

  tip({ run, row, method, y }, under) {
    const { data } = this;
    const value = (split, metric) => row === undefined ? data.ends[split][metric]?.[run] : data.curves[split][metric][run][row];
    const { lam, seed, lr } = data.runs;
    const when = row === undefined ? "" : `, epoch ${number(this.epochs(run)[row])}: ${number(y)}`;
    const settings = `λ ${number(lam[run])}, seed ${seed[run]}, learning rate ${number(lr[run])}${when}`;
    const metrics = data.metrics.map((metric) => [metric, ...data.splits.map((split) => number(value(split, metric)))]);
    const { split } = this.state;
    const text = data.metrics.map((metric) => `${metric} ${number(value(split, metric))}`).join(", ");
    return {
      content: [
        element("p", { class: "name" }, key(method), method.title),
        element("p", {}, settings),
        table(["", ...data.splits], metrics),
        ...(under.length ? [element("p", { class: "quiet" }, `At the same place: ${under.join(", ")}`)] : []),
      ],
      text: `${[method.title, ...under].join(" and ")}, ${settings}; ${split}: ${text}`,
    };
  }
}

/** Series in grey below the others. */
function quietFirst(series) {
  return [...series.filter(({ quiet }) => quiet), ...series.filter(({ quiet }) => !quiet)];
}

/** A method's marker, for legends. */
function key(method) {
  return svg("svg", { class: "key", width: 14, height: 14, "aria-hidden": "true", style: `--light:${method.color};--dark:${method.dark}` },
    svg("path", { d: marker(method.marker, 7, 7, 5.5) }));
}

/** A button that is on or off. */
function toggle(content, attributes, change) {
  const button = element("button", { type: "button", "aria-pressed": "true", ...attributes }, ...content);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    change(on);
  });
  return button;
}

function group(title, kind, ...content) {
  return element("fieldset", {}, element("legend", {}, title), element("div", { class: kind }, ...content));
}

/** One choice of several, side by side. */
function segments(title, name, choices, chosen, change) {
  const labels = choices.map(([value, text]) => {
    const input = element("input", { type: "radio", name, value });
    input.checked = chosen === value;
    input.addEventListener("change", () => change(value));
    return element("label", {}, input, element("span", {}, text));
  });
  return group(title, "segments", ...labels);
}
