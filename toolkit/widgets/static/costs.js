export default widget(({ root, content, ask, signal }) => {
  const { axes, settings, names, columns, total, quality } = content;
  const known = (name) => name in columns;
  const size = 25;
  let offers = content.offers, models = offers.map((one) => ({ key: one.key, name: one.name }));
  let by = null, down = false, page = 0, against = known("cost") ? "paid" : null;

  // Decimal places of a column of costs: as many as its smallest value needs.
  const places = (values) => {
    const least = Math.min(...values.filter((v) => v).map(Math.abs));
    return Number.isFinite(least) ? Math.min(9, Math.max(2, 2 - Math.floor(Math.log10(least)))) : 2;
  };
  const money = (value, digits) => (value === null || value === undefined ? "–" : value === 0 ? "0" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  const whole = (value) => (value === null ? "–" : Math.round(value).toLocaleString("en"));
  const same = (a, b) => a[0] === b[0] && a[1] === b[1];

  // The cost of each setting at each price, the paid one first. A paid cost per completion includes failures.
  const prices = () => [
    known("cost") && { id: "paid", name: "as paid", told: content.paid, cost: columns.cost, each: columns.cost_per_completion, total: total.cost },
    ...offers.filter((one) => models.some((other) => same(other.key, one.key))).map((one) => ({ ...one, id: JSON.stringify(one.key) })),
    ownPrice(),
    machinePrice(),
  ].filter(Boolean).map((one) => ({ ...one, each: one.each ?? one.cost.map((c, i) => (c !== null && columns.completions[i] ? c / columns.completions[i] : null)) }));

  // Prices without tiers need only the sums of tokens.
  const ownPrice = () => {
    const [rate, out, cachedRate] = [input, output, cachedIn].map(dollars);
    if (rate === null || out === null || given(cachedIn) < 0) return null;
    const of = (prompt, cached, generated) => ((prompt - cached) * rate + cached * (cachedRate ?? rate) + generated * out) / 1e6;
    const held = (tokens) => (cache.checked ? tokens : 0);
    return { id: "own", name: "own price", told: `own price: ${rate} in, ${out} out per million tokens (given by hand)`,
      cost: settings.map((_, i) => of(columns.prompt_tokens[i], held(columns.cached_tokens[i]), columns.completion_tokens[i])),
      total: of(total.prompt_tokens, held(total.cached_tokens), total.completion_tokens) };
  };
  const machinePrice = () => {
    const rate = local.checked ? dollars(hour) : null;
    if (rate === null) return null;
    const { cost, total } = content.at_one_an_hour;
    const times = (x) => (x === null ? null : rate * x);
    return { id: "hour", name: "this machine", told: `this machine: ${rate} an hour, in US dollars`, cost: cost.map(times), total: times(total) };
  };

  // The Pareto front, as in toolkit.pricing.costs.pareto.
  const pareto = (costs, worth) => {
    const order = costs.map((_, i) => i).filter((i) => costs[i] !== null && worth[i] !== null).sort((a, b) => costs[a] - costs[b] || worth[b] - worth[a]);
    const kept = new Set();
    let cheaper = -Infinity, best = -Infinity, at = null;
    for (const i of order) {
      if (costs[i] !== at) [cheaper, at] = [best, costs[i]];
      if (worth[i] > cheaper && worth[i] >= best) kept.add(i);
      best = Math.max(best, worth[i]);
    }
    return costs.map((_, i) => kept.has(i));
  };

  // The table

  const facts = () => {
    const tokens = settings.map((_, i) => columns.prompt_tokens[i] + columns.completion_tokens[i]);
    const some = (name) => known(name) && columns[name].some((v) => v);
    const column = (name, label, told, show = whole) =>
      ({ id: name, label, told, values: columns[name], sum: total[name], show });
    const priced = (id, label, told, values, sum) => {
      const digits = places([...values, sum]);
      return { id, label, told, values, sum, show: (v) => money(v, digits) };
    };
    return [
      ...axes.map((name, i) => ({ id: `axis ${i}`, label: name, values: settings.map((s) => s[i]), axis: true, show: (v) => v })),
      column("completions", "completions", "each counted once"),
      { id: "tokens", label: "tokens", told: "all of them: prompt and generated", values: tokens, sum: total.prompt_tokens + total.completion_tokens, bar: true, show: whole },
      ...["correct", "valid"].filter(known).map((name) => column(name, name, "share of the answers", (v) => percent(v))),
      ...prices().map((one) => priced(`price ${one.id}`, one.id === "paid" ? "cost, $" : `${one.name}, $`, `US dollars of all completions: ${one.told}`, one.cost, one.total)),
      ...["correct", "valid"].filter((name) => known(`cost_per_${name}`)).map((name) =>
        priced(`each ${name}`, `a ${name} one, $`, `US dollars for each ${name} answer, with what was lost on failures`, columns[`cost_per_${name}`], total[`cost_per_${name}`])),
      column("prompt_tokens", "prompt", "tokens of the prompts"),
      column("cached_tokens", "cached", "of the prompts' tokens those that the engine's prefix cache held"),
      column("completion_tokens", "generated", "tokens of the answers"),
      column("machine_seconds", "seconds", "of the machine, shared by what ran at once", (v) => (v === null ? "–" : v.toFixed(1))),
      column("tokens_per_second", "tokens/s", "generated tokens for each second of the machine", (v) => (v === null ? "–" : v.toFixed(1))),
      some("cut") && column("cut", "cut", "completions that reached max_tokens or the window"),
      some("failed_attempts") && column("failed_attempts", "failed", "attempts that gave nothing"),
      some("saved") && priced("saved", "saved, $", "US dollars that were not paid again: found in the store", columns.saved, total.saved),
    ].filter(Boolean);
  };

  const order = (column) => {
    const rows = settings.map((_, i) => i);
    if (!column) return rows;
    const value = (i) => column.values[i], number = (v) => (v !== "" && Number.isFinite(+v) ? +v : null);
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      const both = [number(x), number(y)];
      const less = both.includes(null) ? `${x}`.localeCompare(`${y}`) : both[0] - both[1];
      return down ? -less : less;
    };
    return rows.sort(compare);
  };

  const box = h("div", { class: "tk-cost-scroll" });
  const drawTable = (focus) => {
    const all = facts(), rows = order(all.find((one) => one.id === by));
    const last = Math.max(0, Math.ceil(rows.length / size) - 1);
    page = Math.min(page, last);
    const most = Math.max(...all.find((one) => one.bar).values, 1);
    const head = (one) => {
      const sorted = one.id === by;
      const sort = () => {
        [down, by, page] = [sorted ? !down : !one.axis, one.id, 0];
        drawTable(one.id);
      };
      return h("th", { scope: "col", class: one.axis ? "" : "tk-number", "aria-sort": sorted ? (down ? "descending" : "ascending") : null },
        h("button", { "data-column": one.id, title: one.told, onclick: sort }, h("span", {}, one.label), h("i", { "aria-hidden": "true" }, sorted ? (down ? "▾" : "▴") : "")));
    };
    const cell = (one, i) => {
      const text = one.show(one.values[i]);
      if (one.axis) return h("td", {}, h("span", { class: text.length > 24 ? "tk-said" : "tk-said tk-cost-short" }, text));
      return h("td", { class: `tk-number${one.bar ? " tk-cost-tokens" : ""}` }, text, one.bar && tokensBar(i, most));
    };
    const foot = h("tr", { class: "tk-cost-all" }, all.map((one, i) =>
      one.axis ? h("th", { scope: "row" }, i ? "" : "all") : h("td", { class: "tk-number" }, one.show(one.sum))));
    const turn = (to) => { page = to; drawTable(to ? "next" : "before"); };
    box.replaceChildren(
      h("table", { class: "tk-cost-table" },
        h("thead", {}, h("tr", {}, all.map(head))),
        h("tbody", {}, rows.slice(page * size, (page + 1) * size).map((i) => h("tr", {}, all.map((one) => cell(one, i))))),
        h("tfoot", {}, foot)),
      ...(last ? [h("div", { class: "tk-bar" },
        h("button", { "data-column": "before", disabled: !page, onclick: () => turn(page - 1) }, "‹ before"),
        `settings ${page * size + 1} to ${Math.min(rows.length, (page + 1) * size)} of ${rows.length}`,
        h("button", { "data-column": "next", disabled: page === last, onclick: () => turn(page + 1) }, "next ›"))] : []));
    if (focus) [...box.querySelectorAll("[data-column]")].find((one) => one.dataset.column === focus)?.focus();
  };

  const parts = [["prompt", (i) => columns.prompt_tokens[i] - columns.cached_tokens[i]], ["cached", (i) => columns.cached_tokens[i]], ["generated", (i) => columns.completion_tokens[i]]];
  const tokensBar = (i, most) => h("span", { class: "tk-cost-bar", "aria-hidden": "true" },
    parts.map(([name, of]) => h("span", { class: `tk-cost-${name}`, style: { width: `${(100 * of(i)) / most}%` } })));
  const key = h("div", { class: "tk-key" }, "tokens:", parts.map(([name]) => h("span", {}, h("i", { class: `tk-cost-swatch tk-cost-${name}` }), name === "prompt" ? "prompt, not cached" : name)));

  // The total cost at each price, beside what was paid

  const totals = h("div", {});
  const drawTotals = () => {
    const all = prices();
    if (!all.length) return totals.replaceChildren(h("p", { class: "tk-faint" }, "No price yet: choose a model, or give one of your own."));
    const digits = places(all.map((one) => one.total)), most = Math.max(...all.map((one) => one.total ?? 0)) || 1;
    const paid = all[0].id === "paid" ? all[0].total : null;
    totals.replaceChildren(h("table", { class: "tk-cost-totals" },
      h("caption", {}, "All completions, US dollars"),
      h("tbody", {}, all.map((one) =>
        h("tr", { title: one.told },
          h("th", { scope: "row" }, h("span", {}, one.name), h("small", {}, one.told)),
          h("td", { class: "tk-number" }, money(one.total, digits)),
          h("td", { class: "tk-number" }, one.id === "paid" || !paid || one.total === null ? "" : `× ${(one.total / paid).toPrecision(3)}`),
          h("td", { class: "tk-cost-wide" }, h("span", { class: "tk-cost-bar", "aria-hidden": "true" }, h("span", { class: "tk-cost-prompt", style: { width: `${(100 * (one.total ?? 0)) / most}%` } }))))))));
  };

  // The chart

  const figure = h("div", { class: "tk-cost-figure" });
  const drawChart = () => {
    const all = prices(), one = all.find((price) => price.id === against) ?? all[0];
    const each = (values) => (i) => (columns.completions[i] ? values[i] / columns.completions[i] : null);
    const tokens = each(settings.map((_, i) => columns.prompt_tokens[i] + columns.completion_tokens[i]));
    const thousand = one && ((i) => (one.each[i] === null ? null : 1000 * one.each[i]));
    const [x, xs] = one ? ["US dollars for 1,000 completions", thousand] : ["prompt tokens of a completion", each(columns.prompt_tokens)];
    const [y, ys] = quality ? [`share ${quality}`, (i) => columns[quality][i]]
      : one ? ["tokens of a completion", tokens] : ["generated tokens of a completion", each(columns.completion_tokens)];
    const shown = (v) => (v === null ? "–" : +v.toPrecision(3));
    const point = (i) => [xs(i), ys(i), `${names[i]}: ${shown(xs(i))} ${x}, ${quality ? percent(ys(i)) : shown(ys(i))} ${quality ?? y}`];
    const some = (f) => settings.map((_, i) => i).filter(f).map(point);
    const front = one && quality ? pareto(one.each, columns[quality]) : null;
    const series = front
      ? [{ name: "the Pareto front: to be better costs more", mark: 1, points: some((i) => front[i]) },
         { name: "beaten: another is no dearer and better, or as good and cheaper", mark: 0, points: some((i) => !front[i]) }]
      : [{ name: "", mark: 0, points: some(() => true) }];
    const choice = all.length > 1 && field("at the price", select(all.map((price) => [price.id, price.name]), one.id, (id) => { against = id; drawChart(); figure.querySelector("select").focus(); }));
    const best = front && settings.map((_, i) => i).filter((i) => front[i]).sort((a, b) => xs(a) - xs(b));
    hide();
    figure.replaceChildren(
      h("h4", {}, `${one ? "Cost" : "Prompt tokens"} against ${quality ?? (one ? "tokens" : "generated tokens")}`),
      ...(choice ? [h("div", { class: "tk-bar" }, choice)] : []),
      chart({ series: series.filter((s) => s.points.length), x, y }),
      ...(best?.length ? [h("p", { class: "tk-cost-front" }, h("b", {}, "Pareto front: "), best.slice(0, 8).map((i) => `${names[i]} (${percent(ys(i))})`).join("; "), best.length > 8 ? `; and ${best.length - 8} more` : "")] : []));
  };

  // Other prices

  const status = h("div", { class: "tk-error", role: "status" });
  const attempt = async (f) => {
    try {
      await f();
      status.textContent = wrong();
    } catch (error) {
      status.textContent = error.message;
    }
  };
  const dollarsIn = (label, id, value) => {
    const input = h("input", { type: "number", min: 0, step: "any", value: value ?? "", "data-price": id, oninput: () => changed(id), style: { width: "5.6em" } });
    return [input, field(label, input)];
  };
  const [input, inputField] = dollarsIn("input", "input"), [output, outputField] = dollarsIn("output", "output"), [cachedIn, cachedField] = dollarsIn("cached", "cached");
  const [hour, hourField] = dollarsIn("US$ an hour", "hour", content.per_hour);
  const local = h("input", { type: "checkbox", onchange: () => changed() });
  const cache = h("input", { type: "checkbox", onchange: () => changed("cache") });
  const given = (box) => (box.value.trim() === "" ? null : +box.value);
  const dollars = (box) => (given(box) < 0 ? null : given(box));
  const wrong = () => {
    const box = [input, output, cachedIn, hour].find((one) => given(one) < 0);
    return box ? `${box.dataset.price} must be 0 US dollars or more, got ${box.value}` : "";
  };

  const fetched = latest(ask);
  const listed = settled(() => attempt(async () => {
    offers = await fetched("prices", { models: models.map((one) => one.key), cached: cache.checked });
    redraw();
  }), 60);
  const changed = (id) => {
    const were = cache.checked;
    // A rate for cached tokens has no effect unless they are counted.
    if (id === "cached") cache.checked = given(cachedIn) !== null;
    if (id === "hour") local.checked = given(hour) !== null;
    status.textContent = wrong();
    redraw();
    if (models.length && (id === "cache" || cache.checked !== were)) listed();
  };

  const chips = h("div", { class: "tk-bar tk-cost-chips" });
  const drawChips = () => chips.replaceChildren(...models.map((one) =>
    h("button", { "aria-label": `leave out ${one.name}`, onclick: () => toggle(one) }, one.name, h("span", { "aria-hidden": "true" }, " ✕"))));
  const toggle = (one) => {
    models = models.some((other) => same(other.key, one.key)) ? models.filter((other) => !same(other.key, one.key)) : [...models, one];
    drawChips();
    for (const button of found.querySelectorAll("[data-key]")) pressed(button);
    if (!root.contains(document.activeElement)) search.focus();
    redraw();
    if (models.length) listed();
  };
  const pressed = (button) => {
    const on = models.some((one) => JSON.stringify(one.key) === button.dataset.key);
    button.setAttribute("aria-pressed", `${on}`);
    button.textContent = on ? "added" : "add";
  };

  const search = h("input", { type: "search", placeholder: "name or provider", "aria-label": "search models", oninput: () => look() });
  const found = h("div", {});
  const asked = latest(ask);
  const list = (to, focus) => attempt(async () => {
    const { models: rows, total: every, page: at, size: most } = await asked("models", { search: search.value, page: to });
    const rate = (v) => h("td", { class: "tk-number" }, v === null ? "–" : `${+v.toPrecision(4)}`);
    const last = Math.max(0, Math.ceil(every / most) - 1);
    found.replaceChildren(
      h("table", { class: "tk-cost-models" },
        h("thead", {}, h("tr", {}, h("th", {}), h("th", { scope: "col" }, "model"), h("th", { scope: "col" }, "provider"), ["input", "cached", "output"].map((name) => h("th", { scope: "col", class: "tk-number" }, name)))),
        h("tbody", {}, rows.map((row) => {
          const one = { key: [row.model, row.provider], name: row.model };
          const button = h("button", { "data-key": JSON.stringify(one.key), "aria-label": `${row.model} from ${row.provider}`, onclick: () => toggle(one) });
          pressed(button);
          return h("tr", {}, h("td", {}, button), h("td", { class: "tk-said" }, row.model), h("td", {}, row.provider), rate(row.input), rate(row.cached), rate(row.output));
        }))),
      h("div", { class: "tk-bar" },
        h("button", { disabled: !at, "data-turn": -1, onclick: () => list(at - 1, -1) }, "‹ before"),
        every ? `${at * most + 1} to ${at * most + rows.length} of ${whole(every)} models` : "no such model",
        h("button", { disabled: at === last, "data-turn": 1, onclick: () => list(at + 1, 1) }, "next ›"),
        h("span", { class: "tk-faint" }, "US dollars per million tokens")));
    roving(found, "[data-key]", signal).reset();
    if (focus) (found.querySelector(`[data-turn="${focus}"]:not(:disabled)`) ?? found.querySelector("[data-turn]:not(:disabled)"))?.focus();
  });
  const look = settled(() => list(0));
  const picker = h("details", { class: "tk-cost-picker", ontoggle: () => picker.open && !found.firstChild && list(0) },
    h("summary", {}, "Add a model from the price list"), search, found);

  const whatIf = h("section", { class: "tk-cost-if", "aria-label": "what if" },
    h("h4", {}, "What if it had been asked elsewhere?"),
    h("p", { class: "tk-faint" }, "With the same numbers of tokens: another model's tokenizer would count otherwise, and its answers have other lengths. The price list needs a kernel; a price of your own and this machine's hour do not."),
    totals,
    chips,
    picker,
    h("div", { class: "tk-bar tk-cost-own" }, h("b", {}, "A price of your own"), inputField, outputField, cachedField, h("span", { class: "tk-faint" }, "US$ per million tokens")),
    h("div", { class: "tk-bar tk-cost-own" }, h("label", { class: "tk-field" }, local, h("b", {}, "This machine")), hourField),
    h("label", { class: "tk-field" }, cache, h("span", {}, `prompt tokens that the engine had cached (${whole(total.cached_tokens)}) are cached there too`)),
    status);

  const redraw = () => { drawTable(); drawTotals(); drawChart(); };
  const hide = tip(root, ".tk-cost-figure svg .tk-mark", (dot) => dot.hasAttribute("aria-label") && h("span", {}, dot.getAttribute("aria-label")), signal);
  root.append(
    h("ul", { class: "tk-cost-said" }, content.sentences.map((text) => h("li", {}, text))),
    h("h4", {}, "By setting"), box, key,
    h("div", { class: "tk-cost-two" }, whatIf, figure));
  drawChips();
  redraw();
});
