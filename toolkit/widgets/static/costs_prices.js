// Prices: those of the price list, a price of one's own, and this machine's hour; and the total at each.
//   price: { id, name, description, cost: of each setting, each: of a completion of each setting, total, key }

const sameKey = (a, b) => a[0] === b[0] && a[1] === b[1];

// A number with at most four significant digits, and numbers of a column in one format, as toolkit._internal.text writes
// them: short_number, money_texts.
function shortNumber(value) {
  if (value === null || value === undefined) return "–";
  if (!value) return "0";
  const rounded = +value.toPrecision(4), size = Math.abs(rounded);
  for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (size >= Math.max(unit, 1e4)) return `${+(rounded / unit).toPrecision(4)}${name}`;
  return fixed(rounded, neededDecimals(rounded, 3 - Math.floor(Math.log10(size))));
}

// The format of a column: a function of a value.
function moneyFormat(values) {
  const known = values.filter((v) => v !== null && v !== undefined), largest = Math.max(0, ...known.map(Math.abs));
  if (!(largest > 0 && largest < 9999.5)) return shortNumber;
  const most = 3 - Math.floor(Math.log10(largest));
  const decimals = Math.max(...known.map((v) => neededDecimals(v, most))), least = 10 ** -decimals;
  return (v) => {
    if (!v) return shortNumber(v);
    return Math.abs(v) >= least / 2 ? fixed(v, decimals) : `<${fixed(least, decimals)}`;
  };
}

const fixed = (value, decimals) =>
  value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

function neededDecimals(value, most) {
  const digits = Math.abs(value).toFixed(Math.min(20, Math.max(0, most))).split(".")[1] ?? "";
  return digits.replace(/0+$/, "").length;
}

// Buttons of a page before and after; content is between them.
function pageButtons(before, content, after) {
  return h("div", { class: "tk-bar" },
    h("button", { type: "button", ...before }, "‹ before"), content, h("button", { type: "button", ...after }, "next ›"));
}

// The inputs of a price per token and of a price per hour. These need no kernel: prices without tiers need only the
// sums of tokens.
class OwnPrices {
  // onchange(): called after each change of an input.
  constructor(content, onchange) {
    this.content = content;
    this.onchange = onchange;
    this.input = this.numberInput("input");
    this.output = this.numberInput("output");
    // A rate for cached tokens has no effect unless they are counted.
    this.cachedInput = this.numberInput("cached", () => (this.countCached.checked = this.cachedInput.value.trim() !== ""));
    this.hour = this.numberInput("hour", () => (this.machine.checked = this.hour.value.trim() !== ""));
    this.hour.value = content.per_hour;
    this.machine = h("input", { type: "checkbox", onchange });
    this.countCached = h("input", { type: "checkbox", onchange });
    const cached = `prompt tokens that the engine had cached (${shortNumber(content.total.cached_tokens)})`;
    this.elements = [
      h("div", { class: "tk-bar tk-cost-own" }, h("b", {}, "A price of your own"), field("input", this.input),
        field("output", this.output), field("cached", this.cachedInput),
        h("span", { class: "tk-faint" }, "US$ per million tokens")),
      h("div", { class: "tk-bar tk-cost-own" },
        h("label", { class: "tk-field" }, this.machine, h("b", {}, "This machine")), field("US$ an hour", this.hour)),
      h("label", { class: "tk-field" }, this.countCached, h("span", {}, `${cached} are cached there too`))];
  }

  numberInput(name, before = () => {}) {
    const oninput = () => {
      before();
      this.onchange();
    };
    return h("input", { type: "number", min: 0, step: "any", "data-price": name, oninput, style: { width: "5.6em" } });
  }

  // The number in an input; null where it is empty or negative.
  rate(box) {
    return box.value.trim() === "" || +box.value < 0 ? null : +box.value;
  }

  // What is wrong with an input; "" if nothing is.
  get problem() {
    const box = [this.input, this.output, this.cachedInput, this.hour].find((input) => +input.value < 0);
    return box ? `${box.dataset.price} must be 0 US dollars or more, got ${box.value}` : "";
  }

  prices() {
    return [this.tokenPrice(), this.machinePrice()].filter(Boolean);
  }

  tokenPrice() {
    const [input, output, cachedInput] = [this.input, this.output, this.cachedInput].map(this.rate);
    if (input === null || output === null || +this.cachedInput.value < 0) return null;
    const { columns, total, settings } = this.content;
    const cost = (prompt, cachedTokens, generated) => {
      const cached = this.countCached.checked ? cachedTokens : 0;
      if ([prompt, cached, generated].includes(null)) return null;
      return ((prompt - cached) * input + cached * (cachedInput ?? input) + generated * output) / 1e6;
    };
    return {
      id: "own", name: "own price",
      description: `own price: ${input} in, ${output} out per million tokens (given by hand)`,
      cost: settings.map((_, i) =>
        cost(columns.prompt_tokens[i], columns.cached_tokens[i], columns.completion_tokens[i])),
      total: cost(total.prompt_tokens, total.cached_tokens, total.completion_tokens),
    };
  }

  machinePrice() {
    const rate = this.machine.checked ? this.rate(this.hour) : null;
    if (rate === null) return null;
    const { cost, total } = this.content.at_one_an_hour;
    const times = (x) => (x === null ? null : rate * x);
    return {
      id: "hour", name: "this machine", description: `this machine: ${rate} an hour, in US dollars`,
      cost: cost.map(times), total: times(total),
    };
  }
}

// The price list, searched and shown page by page.
class ModelPicker {
  // isAdded(key): whether a model is compared; toggle(model): adds or removes it; attempt(f): shows the error of f.
  constructor({ request, signal, isAdded, toggle, attempt }) {
    Object.assign(this, { signal, isAdded, toggle, attempt });
    this.request = latest(request);
    const look = debounce(() => this.list(0));
    this.search = h("input", {
      type: "search", placeholder: "name or provider", "aria-label": "search models", oninput: look });
    this.results = h("div", {});
    const ontoggle = () => this.box.open && !this.results.firstChild && this.list(0);
    this.box = h("details", { class: "tk-cost-picker", ontoggle },
      h("summary", {}, "Add a model from the price list"), this.search, this.results);
  }

  // focus: the page button that has the focus afterwards, -1 or 1.
  list(page, focus) {
    return this.attempt(async () => {
      const result = await this.request("models", { search: this.search.value, page });
      const heads = ["input", "cached", "output"].map((name) => h("th", { scope: "col", class: "tk-number" }, name));
      this.results.replaceChildren(
        h("table", { class: "tk-cost-models" },
          h("thead", {}, h("tr", {}, h("th", {}), h("th", { scope: "col" }, "model"),
            h("th", { scope: "col" }, "provider"), heads)),
          h("tbody", {}, result.models.map((row) => this.row(row)))),
        this.pager(result));
      rovingFocus(this.results, "[data-key]", this.signal).reset();
      const button = (selector) => this.results.querySelector(`${selector}:not(:disabled)`);
      if (focus) (button(`[data-turn="${focus}"]`) ?? button("[data-turn]"))?.focus();
    });
  }

  pager({ models, total, page, size }) {
    const last = Math.max(0, Math.ceil(total / size) - 1), first = page * size;
    const range = total ? `${first + 1} to ${first + models.length} of ${shortNumber(total)} models` : "no such model";
    const pager = pageButtons(
      { disabled: !page, "data-turn": -1, onclick: () => this.list(page - 1, -1) }, range,
      { disabled: page === last, "data-turn": 1, onclick: () => this.list(page + 1, 1) });
    pager.append(h("span", { class: "tk-faint" }, "US dollars per million tokens"));
    return pager;
  }

  row({ model, provider, input, cached, output }) {
    const rate = (v) => h("td", { class: "tk-number" }, v === null ? "–" : `${+v.toPrecision(4)}`);
    const entry = { key: [model, provider], name: model };
    const button = h("button", {
      "data-key": JSON.stringify(entry.key), "aria-label": `${model} from ${provider}`, onclick: () => this.toggle(entry) });
    this.sync(button);
    return h("tr", {}, h("td", {}, button), h("td", { class: "tk-said" }, model), h("td", {}, provider),
      [input, cached, output].map(rate));
  }

  // Shows on a button whether its model is compared.
  sync(button) {
    const added = this.isAdded(JSON.parse(button.dataset.key));
    button.setAttribute("aria-pressed", `${added}`);
    button.textContent = added ? "added" : "add";
  }

  syncAll() {
    for (const button of this.results.querySelectorAll("[data-key]")) this.sync(button);
  }
}

// The section with other prices: models, inputs, and the total cost at each.
class OtherPrices {
  // onchange(): called after each change of the prices.
  constructor({ root, content, request, signal, onchange }) {
    Object.assign(this, { root, content, onchange });
    this.offers = content.offers;
    this.models = this.offers.map(({ key, name }) => ({ key, name }));
    this.own = new OwnPrices(content, () => this.ownChanged());
    this.counted = this.own.countCached.checked;
    const requestLatest = latest(request);
    this.load = debounce(() => this.attempt(async () => {
      const models = this.models.map((model) => model.key);
      this.offers = await requestLatest("prices", { models, cached: this.own.countCached.checked });
      this.changed();
    }), 60);
    this.picker = new ModelPicker({
      request, signal, attempt: (f) => this.attempt(f), toggle: (model) => this.toggle(model),
      isAdded: (key) => this.isAdded(key) });
    this.totals = h("div", {});
    this.chips = h("div", { class: "tk-bar tk-cost-chips" });
    this.status = h("div", { class: "tk-error", role: "status" });
    const note = "With the same numbers of tokens: another model's tokenizer would count otherwise, and its answers have "
      + "other lengths.";
    this.box = h("section", { class: "tk-cost-if", "aria-label": "what if" },
      h("h4", {}, "What if it had been asked elsewhere?"), h("p", { class: "tk-faint" }, note),
      this.totals, this.chips, this.picker.box, this.own.elements, this.status);
    this.drawChips();
  }

  async attempt(f) {
    try {
      await f();
      this.status.textContent = this.own.problem;
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  isAdded(key) {
    return this.models.some((model) => sameKey(model.key, key));
  }

  // The cost of each setting at each price, the paid one first. A paid cost per completion includes failures.
  prices() {
    const { columns, total, paid } = this.content;
    const actual = "cost" in columns && {
      id: "paid", name: "as paid", description: paid, cost: columns.cost, each: columns.cost_per_completion,
      total: total.cost };
    const listed = this.offers.filter((offer) => this.isAdded(offer.key));
    const prices = [actual, ...listed.map((offer) => ({ ...offer, id: JSON.stringify(offer.key) })), ...this.own.prices()];
    const perCompletion = (cost) =>
      cost.map((c, i) => (c !== null && columns.completions[i] ? c / columns.completions[i] : null));
    return prices.filter(Boolean).map((price) => ({ ...price, each: price.each ?? perCompletion(price.cost) }));
  }

  ownChanged() {
    this.status.textContent = this.own.problem;
    this.changed();
    const counted = this.own.countCached.checked;
    if (this.models.length && counted !== this.counted) this.load();
    this.counted = counted;
  }

  changed() {
    this.drawTotals();
    this.onchange();
  }

  toggle(model) {
    this.models = this.isAdded(model.key) ? this.models.filter((other) => !sameKey(other.key, model.key))
      : [...this.models, model];
    this.drawChips();
    this.picker.syncAll();
    if (!this.root.contains(document.activeElement)) this.picker.search.focus();
    this.changed();
    if (this.models.length) this.load();
  }

  drawChips() {
    this.chips.replaceChildren(...this.models.map((model) =>
      h("button", { "aria-label": `leave out ${model.name}`, onclick: () => this.toggle(model) }, model.name,
        h("span", { "aria-hidden": "true" }, " ✕"))));
  }

  drawTotals() {
    const prices = this.prices(), totals = prices.map((price) => price.total);
    const none = "No price yet: choose a model, or give one of your own.";
    if (!prices.length) return this.totals.replaceChildren(h("p", { class: "tk-faint" }, none));
    const format = moneyFormat(totals), highest = Math.max(...totals.map((total) => total ?? 0)) || 1;
    const paid = prices[0].id === "paid" ? prices[0].total : null;
    const row = ({ id, name, description, total }) => {
      const ratio = id === "paid" || !paid || total === null ? "" : `× ${(total / paid).toPrecision(3)}`;
      const width = `${(100 * (total ?? 0)) / highest}%`;
      return h("tr", { title: description },
        h("th", { scope: "row" }, h("span", {}, name), h("small", {}, description)),
        h("td", { class: "tk-number" }, format(total)), h("td", { class: "tk-number" }, ratio),
        h("td", { class: "tk-cost-wide" }, h("span", { class: "tk-cost-bar", "aria-hidden": "true" },
          h("span", { class: "tk-cost-prompt", style: { width } }))));
    };
    this.totals.replaceChildren(h("table", { class: "tk-cost-totals" },
      h("caption", {}, "All completions, US dollars"), h("tbody", {}, prices.map(row))));
  }
}
