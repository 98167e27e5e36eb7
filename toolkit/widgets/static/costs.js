// CostsView: the tokens and cost of each setting as a table, cost against quality, and the same at other prices.
export default widget(({ root, content, request, signal }) => {
  const others = new OtherPrices({ root, content, request, signal, onchange: () => draw() });
  const table = new CostTable(content, () => others.prices());
  const figure = new CostFigure(content, () => others.prices());
  const draw = () => {
    table.draw();
    hideTooltip(); // its mark is replaced
    figure.draw();
  };
  const label = (mark) => mark.hasAttribute("aria-label") && h("span", {}, mark.getAttribute("aria-label"));
  const hideTooltip = tooltip(root, ".tk-cost-figure svg .tk-mark", label, signal);
  root.append(
    h("ul", { class: "tk-cost-said" }, content.sentences.map((text) => h("li", {}, text))),
    h("h4", {}, "By setting"), table.box, tokenLegend(),
    h("div", { class: "tk-cost-two" }, others.box, figure.box));
  others.drawTotals();
  draw();
});

const SETTINGS_PER_PAGE = 25;
// The most settings, and characters of a name, that are written into the chart.
const MAX_NAMED = 10, MAX_NAME = 28;
// Tokens are null where a server does not report them; a sum with null is null.
const sumOf = (a, b) => (a === null || b === null ? null : a + b);
const TOKEN_PARTS = {
  prompt: (columns, i) => columns.prompt_tokens[i] - columns.cached_tokens[i],
  cached: (columns, i) => columns.cached_tokens[i],
  generated: (columns, i) => columns.completion_tokens[i],
};

function tokenLegend() {
  return h("div", { class: "tk-key" }, "tokens:", Object.keys(TOKEN_PARTS).map((name) =>
    h("span", {}, h("i", { class: `tk-cost-swatch tk-cost-${name}` }), name === "prompt" ? "prompt, not cached" : name)));
}

// The sortable table of settings.
class CostTable {
  constructor(content, prices) {
    Object.assign(this, { ...content, prices });
    this.by = null; // the id of the column that sorts
    this.descending = false;
    this.page = 0;
    this.box = h("div", { class: "tk-cost-scroll" });
  }

  has(name) {
    return name in this.columns;
  }

  hasNonzero(name) {
    return this.has(name) && this.columns[name].some((v) => v);
  }

  column(id, label, description, format = shortNumber) {
    return { id, label, description, values: this.columns[id], sum: this.total[id], format };
  }

  priceColumn(id, label, description, values, sum) {
    return { id, label, description, values, sum, format: moneyFormat([...values, sum]) };
  }

  // The columns: { id, label, description, values, sum, format(value), axis: whether it is one of the axes, bar: whether
  // its values have a bar of tokens }.
  allColumns() {
    return [
      ...this.axisColumns(),
      this.column("completions", "completions", "each counted once"),
      this.tokensColumn(),
      ...["correct", "valid"].filter((name) => this.has(name)).flatMap((name) => this.shareColumns(name)),
      ...this.costColumns(),
      this.column("prompt_tokens", "prompt", "tokens of the prompts"),
      this.column("cached_tokens", "cached", "of the prompts' tokens those that the engine's prefix cache held"),
      this.column("completion_tokens", "generated", "tokens of the answers"),
      this.column("machine_seconds", "machine, s", "seconds of the machine, attributed by prompt and generated tokens"),
      this.column("machine_share", "share of machine", "the share of these seconds", (v) => percent(v)),
      this.column("tokens_per_second", "decoding, tokens/s",
        "tokens a second of one sequence after its first token, in the batch that it ran in"),
      this.hasNonzero("queued_seconds") && this.column("queued_seconds", "queued, s",
        "median seconds from a request's arrival until it was first computed"),
      this.hasNonzero("cut") && this.column("cut", "cut", "completions that reached max_tokens or the window"),
      this.hasNonzero("failed_attempts") && this.column("failed_attempts", "failed", "attempts that gave nothing"),
      this.hasNonzero("saved") && this.priceColumn("saved", "saved, $",
        "US dollars that were not paid again: found in the store", this.columns.saved, this.total.saved),
    ].filter(Boolean);
  }

  // A share of the answers, and its interval.
  shareColumns(name) {
    const interval = (low, high, n) => (low === null ? "–" : `${percent(low)} to ${percent(high)}, n ${shortNumber(n)}`);
    const [lows, highs, items] = ["low", "high", "items"].map((part) => this.columns[`${name}_${part}`]);
    const [low, high, n] = ["low", "high", "items"].map((part) => this.total[`${name}_${part}`]);
    const texts = lows.map((_, i) => interval(lows[i], highs[i], items[i]));
    return [
      this.column(name, name, "share of the answers", (v) => percent(v)),
      { id: `${name} interval`, label: `${name}, 95 % interval`, values: texts, sum: interval(low, high, n), format: (v) => v,
        description: "95 % interval of the share, of n items: rows of data, or completions where there is one row" }];
  }

  axisColumns() {
    return this.axes.map((label, i) => ({
      id: `axis ${i}`, label, values: this.settings.map((setting) => setting[i]), axis: true, format: (v) => v }));
  }

  tokensColumn() {
    const { prompt_tokens: prompt, completion_tokens: generated } = this.columns;
    return {
      id: "tokens", label: "tokens", description: "all of them: prompt and generated",
      values: prompt.map((n, i) => sumOf(n, generated[i])),
      sum: sumOf(this.total.prompt_tokens, this.total.completion_tokens),
      bar: true, format: shortNumber,
    };
  }

  // The cost at each price, and of a correct and of a valid answer.
  costColumns() {
    const costs = this.prices().map(({ id, name, description, cost, total }) => this.priceColumn(
      `price ${id}`, id === "paid" ? "cost, $" : `${name}, $`, `US dollars of all completions: ${description}`, cost,
      total));
    const each = ["correct", "valid"].filter((name) => this.has(`cost_per_${name}`)).map((name) => this.priceColumn(
      `each ${name}`, `a ${name} one, $`, `US dollars for each ${name} answer, with what was lost on failures`,
      this.columns[`cost_per_${name}`], this.total[`cost_per_${name}`]));
    return [...costs, ...each];
  }

  // The settings in the order of a column: numbers before texts by value, unknown values last.
  order(column) {
    const rows = this.settings.map((_, i) => i);
    if (!column) return rows;
    const asNumber = (v) => (v !== "" && Number.isFinite(+v) ? +v : null);
    return rows.sort((a, b) => {
      const [x, y] = [column.values[a], column.values[b]];
      if (x === null || y === null) return (x === null) - (y === null);
      const numbers = [asNumber(x), asNumber(y)];
      const difference = numbers.includes(null) ? `${x}`.localeCompare(`${y}`) : numbers[0] - numbers[1];
      return this.descending ? -difference : difference;
    });
  }

  // focus: the id of the column whose head has the focus afterwards, or "before" or "next".
  draw(focus) {
    const columns = this.allColumns(), rows = this.order(columns.find((column) => column.id === this.by));
    const last = Math.max(0, Math.ceil(rows.length / SETTINGS_PER_PAGE) - 1);
    this.page = Math.min(this.page, last);
    const first = this.page * SETTINGS_PER_PAGE, onPage = rows.slice(first, first + SETTINGS_PER_PAGE);
    const highest = Math.max(...columns.find((column) => column.bar).values, 1);
    const sums = columns.map((column, i) => column.axis ? h("th", { scope: "row" }, i ? "" : "all")
      : h("td", { class: "tk-number" }, column.format(column.sum)));
    this.box.replaceChildren(
      h("table", { class: "tk-cost-table" },
        h("thead", {}, h("tr", {}, columns.map((column) => this.head(column)))),
        h("tbody", {}, onPage.map((i) => h("tr", {}, columns.map((column) => this.cell(column, i, highest))))),
        h("tfoot", {}, h("tr", { class: "tk-cost-all" }, sums))),
      ...(last ? [this.pager(first, rows.length, last)] : []));
    const target = focus && [...this.box.querySelectorAll("[data-column]")].find((e) => e.dataset.column === focus);
    target?.focus();
  }

  head({ id, label, description, axis }) {
    const sorted = id === this.by;
    const onclick = () => {
      this.descending = sorted ? !this.descending : !axis;
      this.by = id;
      this.page = 0;
      this.draw(id);
    };
    const direction = sorted ? (this.descending ? "descending" : "ascending") : null;
    const sign = h("i", { "aria-hidden": "true" }, sorted ? (this.descending ? "▾" : "▴") : "");
    return h("th", { scope: "col", class: axis ? "" : "tk-number", "aria-sort": direction },
      h("button", { "data-column": id, title: description, onclick }, h("span", {}, label), sign));
  }

  cell({ values, format, axis, bar }, i, highest) {
    const text = format(values[i]);
    if (axis) return h("td", {}, h("span", { class: text.length > 24 ? "tk-said" : "tk-said tk-cost-short" }, text));
    return h("td", { class: `tk-number${bar ? " tk-cost-tokens" : ""}` }, text, bar && this.tokenBar(i, highest));
  }

  tokenBar(i, highest) {
    const parts = Object.entries(TOKEN_PARTS).map(([name, count]) =>
      h("span", { class: `tk-cost-${name}`, style: { width: `${(100 * count(this.columns, i)) / highest}%` } }));
    return h("span", { class: "tk-cost-bar", "aria-hidden": "true" }, parts);
  }

  pager(first, count, last) {
    const turn = (page) => {
      const focus = page > this.page ? "next" : "before";
      this.page = page;
      this.draw(focus);
    };
    const range = `settings ${first + 1} to ${Math.min(count, first + SETTINGS_PER_PAGE)} of ${count}`;
    return pageButtons(
      { "data-column": "before", disabled: !this.page, onclick: () => turn(this.page - 1) }, range,
      { "data-column": "next", disabled: this.page === last, onclick: () => turn(this.page + 1) });
  }
}

// Whether each setting is on the Pareto front, as in toolkit.pricing.costs.pareto.
function paretoFront(costs, quality) {
  const comparable = costs.map((_, i) => i).filter((i) => costs[i] !== null && quality[i] !== null);
  const front = new Set();
  let cheaper = -Infinity, best = -Infinity, cost = null;
  for (const i of comparable.sort((a, b) => costs[a] - costs[b] || quality[b] - quality[a])) {
    if (costs[i] !== cost) [cheaper, cost] = [best, costs[i]];
    if (quality[i] > cheaper && quality[i] >= best) front.add(i);
    best = Math.max(best, quality[i]);
  }
  return costs.map((_, i) => front.has(i));
}

// The chart: cost at one of the prices, or prompt tokens, against quality, or tokens.
class CostFigure {
  constructor(content, prices) {
    Object.assign(this, { ...content, prices });
    this.priceId = "cost" in this.columns ? "paid" : null;
    this.box = h("div", { class: "tk-cost-figure" });
  }

  draw() {
    const prices = this.prices(), price = prices.find(({ id }) => id === this.priceId) ?? prices[0];
    const { x, y } = this.chartAxes(price);
    const front = price && this.quality ? paretoFront(price.each, this.columns[this.quality]) : null;
    const vertical = this.quality ?? (price ? "tokens" : "generated tokens");
    this.box.replaceChildren(
      h("h4", {}, `${price ? "Cost" : "Prompt tokens"} against ${vertical}`),
      ...(prices.length > 1 ? [this.priceSelect(prices, price)] : []),
      chart({ series: this.series(x, y, front), x: x.label, y: y.label }),
      ...this.numberedNames(), ...this.frontText(x, y, front));
  }

  // Each axis: its label, the value of a setting, and the name and format of the value in a point's tooltip.
  chartAxes(price) {
    const { columns, quality } = this;
    const perCompletion = (values) => (i) => (columns.completions[i] && values[i] !== null ? values[i] / columns.completions[i] : null);
    const tokens = columns.prompt_tokens.map((n, i) => sumOf(n, columns.completion_tokens[i]));
    const x = price
      ? { label: "US dollars for 1,000 completions", value: (i) => (price.each[i] === null ? null : 1000 * price.each[i]) }
      : { label: "prompt tokens of a completion", value: perCompletion(columns.prompt_tokens) };
    const share = { label: `${this.intervalText() || "share "}${quality}`, name: quality, value: (i) => columns[quality][i], format: (v) => percent(v) };
    if (quality) return { x, y: share };
    const y = price ? { label: "tokens of a completion", value: perCompletion(tokens) }
      : { label: "generated tokens of a completion", value: perCompletion(columns.completion_tokens) };
    return { x, y };
  }

  // What the interval of the quality is of, where it is known.
  intervalText() {
    const items = (this.columns[`${this.quality}_items`] ?? []).filter((n) => n);
    const [least, most] = [Math.min(...items), Math.max(...items)];
    return items.length ? `95 % interval (n = ${least === most ? least : `${least} to ${most}`}) of ` : "";
  }

  // A few short names stand beside their points; else numbers do, and the names are listed below.
  get hasNumbers() {
    return this.names.length > MAX_NAMED || this.names.some((name) => name.length > MAX_NAME);
  }

  tag(i) {
    return this.hasNumbers ? `${i + 1}` : this.names[i];
  }

  numberedNames() {
    if (!this.hasNumbers) return [];
    return [h("ol", { class: "tk-cost-names" }, this.names.map((name) => h("li", {}, name)))];
  }

  // The points of a chart; with a Pareto front, in two series.
  series(x, y, front) {
    const short = (v) => (v === null ? "–" : +v.toPrecision(3));
    const [lows, highs] = ["low", "high"].map((end) => this.columns[`${this.quality}_${end}`] ?? []);
    const text = ({ label, name = label, value, format = short }, i) => `${format(value(i))} ${name}`;
    const points = (isIncluded) => this.settings.map((_, i) => i).filter(isIncluded)
      .map((i) => [x.value(i), y.value(i), `${this.names[i]}: ${text(x, i)}, ${text(y, i)}`,
        { tag: this.tag(i), low: lows[i] ?? null, high: highs[i] ?? null }]);
    if (!front) return [{ name: "", mark: 0, points: points(() => true) }];
    const beaten = "beaten: another is no dearer and better, or as good and cheaper";
    return [
      { name: "the Pareto front: to be better costs more", mark: 1, points: points((i) => front[i]) },
      { name: beaten, mark: 0, points: points((i) => !front[i]) },
    ].filter((series) => series.points.length);
  }

  priceSelect(prices, price) {
    const options = prices.map(({ id, name }) => [id, name]);
    const box = select(options, price.id, (id) => {
      this.priceId = id;
      this.draw();
      this.box.querySelector("select").focus();
    });
    return h("div", { class: "tk-bar" }, field("at the price", box));
  }

  // The names of the settings on the front, the cheapest first.
  frontText(x, y, front) {
    const best = front ? this.settings.map((_, i) => i).filter((i) => front[i]) : [];
    if (!best.length) return [];
    best.sort((a, b) => x.value(a) - x.value(b));
    const names = best.slice(0, 8).map((i) => `${this.tag(i)} (${percent(y.value(i))})`).join("; ");
    const more = best.length > 8 ? `; and ${best.length - 8} more` : "";
    return [h("p", { class: "tk-cost-front" }, h("b", {}, "Pareto front: "), names, more)];
  }
}
