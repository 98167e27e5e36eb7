// MicroscopeView: sampling parameters as sliders over a step of a completion. The kernel computes every distribution;
// the frontend draws it and reuses the rows, so that bars move with a slider and the focus is kept.

const CEILINGS = [0.05, 0.1, 0.25, 0.5, 1];
const FATES = ["kept", "unknown", "cut"];

export default widget(({ root, content, request, on, signal }) => {
  let step = content.step, settings = { ...content.settings };

  // At most one request at a time, each with the settings at the time it is sent.
  const update = coalesced(async () => {
    try {
      draw(await request("at", { step, settings }));
    } catch (error) {
      table.showError(error.message);
    }
  });
  const choose = (next) => {
    step = next;
    return update();
  };
  const set = (changes) => {
    settings = { ...settings, ...changes };
    controls.show(settings);
    update();
  };
  const draw = (distribution) => {
    if (distribution.error) return table.showError(distribution.error);
    table.draw(distribution);
    summary.draw(distribution);
    status.show(penaltyNote(distribution));
  };

  const status = liveRegion();
  const text = new TokenText({ content, request, choose, signal });
  const controls = sliders(content, set, () => { set(content.settings); text.go(content.step); });
  const summary = tiles();
  const cards = branchCards({ content, request, on, signal });
  const pick = (token) =>
    content.branching_problem ? cards.showProblem(content.branching_problem) : cards.start(step, token);
  const table = distributionTable(pick, content.branching_problem, signal);

  // That of the logit_bias is the checkbox among the settings.
  const notes = content.notes.filter((note) => note !== content.bias);
  root.classList.add("tk-mic");
  root.append(text.box, controls.box, status.box,
    ...notes.map((note) => h("p", { class: "tk-faint" }, note)), summary.box, table.box, cards.box);
  controls.show(settings);
  draw(content.now);
  tooltip(root, ".tk-mic-token", (element) => text.tip(element), signal);
});

// Runs f at once. Calls during a run are merged into one more run after it.
function coalesced(f) {
  let running = false, again = false;
  return async () => {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      await f();
    }
    running = false;
  };
}

// A live region, which screen readers announce once changes have paused.
function liveRegion() {
  const box = h("p", { class: "tk-mic-status tk-faint", role: "status" });
  return { box, show: debounce((text) => { if (box.textContent !== text) box.textContent = text; }, 300) };
}

function penaltyNote({ counted, greedy }) {
  const before = counted === 1 ? "1 token before this step counts" : `${counted} tokens before this step count`;
  const note = " At temperature 0 the most likely token is taken: top-p, top-k and min-p change nothing.";
  return `${before} for the penalties.${greedy ? note : ""}`;
}

// The text; each token can be focused, and the focused one is the step.
class TokenText {
  constructor({ content, request, choose, signal }) {
    Object.assign(this, { content, request, choose, page: content.page, current: content.step });
    this.last = content.total - 1;
    this.text = h("div", {
      class: "tk-said tk-mic-text", role: "listbox", dir: "auto", "aria-label": "tokens of the completion",
      "aria-orientation": "horizontal",
    });
    this.input = h("input", {
      type: "number", min: 0, max: this.last, value: this.current, "aria-label": "step",
      onchange: () => this.go(+this.input.value),
    });
    this.before = h("button", { "aria-label": "step before", onclick: () => this.go(this.current - 1) }, "◀");
    this.after = h("button", { "aria-label": "step after", onclick: () => this.go(this.current + 1) }, "▶");
    this.text.addEventListener("keydown", (event) => this.onKey(event), { signal });
    this.text.addEventListener("click", (event) => {
      const token = event.target.closest(".tk-mic-token");
      if (token) this.go(+token.dataset.step, true);
    }, { signal });
    const note = `of 0 to ${this.last}; ← and → in the text, where marks grow with the surprisal`;
    const bar = h("div", { class: "tk-bar" }, h("strong", {}, "Step"),
      h("span", { class: "tk-mic-steps" }, this.before, this.input, this.after), h("span", { class: "tk-faint" }, note));
    this.box = h("section", {}, bar, this.text);
    this.render();
    this.mark(this.current);
  }

  token(step) {
    return this.text.querySelector(`[data-step="${step}"]`);
  }

  render() {
    const { first, texts, p } = this.page;
    this.text.replaceChildren(...texts.map((text, i) => h("span", {
      class: `tk-mic-token${first + i < this.content.given ? " tk-mic-given" : ""}`, role: "option", tabIndex: -1,
      "data-step": `${first + i}`, style: { "--surprise": markHeight(p[i]) },
    }, text.replaceAll("\n", "⏎\n") || "∅")));
  }

  mark(step) {
    this.token(this.current)?.removeAttribute("aria-selected");
    this.current = step;
    this.text.querySelectorAll("[tabindex='0']").forEach((token) => (token.tabIndex = -1));
    const token = this.token(step);
    token.setAttribute("aria-selected", "true");
    token.tabIndex = 0;
    token.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.input.value = step;
    this.before.disabled = step === 0;
    this.after.disabled = step === this.last;
  }

  async go(step, focus = false) {
    step = Math.max(0, Math.min(this.last, Math.round(step) || 0));
    if (!this.token(step)) {
      this.page = await this.request("tokens", { step });
      this.render();
    }
    this.mark(step);
    this.choose(step);
    if (focus) this.token(step).focus({ preventScroll: true });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { current, last } = this;
    const target = {
      ArrowRight: current + 1, ArrowDown: current + 1, ArrowLeft: current - 1, ArrowUp: current - 1, Home: 0, End: last,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (target >= 0 && target <= last) this.go(target, true);
  }

  tip(element) {
    const { first, p, ranks } = this.page;
    const step = +element.dataset.step, i = step - first;
    const probability = p[i] === null ? "probability not known" : `probability ${percentRange(p[i], p[i])}`;
    const rank = ranks?.[i] ? `, rank ${ranks[i].toLocaleString("en")}` : "";
    const given = step < this.content.given ? ", given: no penalty counts it" : "";
    return h("span", {}, `step ${step}: ${probability}${rank}${given}`);
  }
}

// The height of the mark below a token, 0 to 1: surprisal, capped at 8 nats.
const markHeight = (p) => (p === null ? 0 : Math.min(1, -Math.log(Math.max(p, 1e-9)) / 8).toFixed(2));

function sliders(content, set, reset) {
  const rightEnd = Math.max(50, content.stored, content.settings.top_k) + 1; // of top-k: there it is 0, which keeps all
  const parts = [
    ["temperature", "temperature", 0, 2, 0.01],
    ["top_p", "top-p", 0.01, 1, 0.01],
    ["top_k", "top-k", 1, rightEnd, 1],
    ["min_p", "min-p", 0, 1, 0.01],
    ["frequency_penalty", "frequency penalty", -2, 2, 0.05],
    ["presence_penalty", "presence penalty", -2, 2, 0.05],
  ].map(([name, label, min, max, step]) => slider({ name, label, min, max, step }, set));
  const presets = content.presets.map(([label, settings]) =>
    ({ settings, button: h("button", { onclick: () => set(settings) }, label) }));
  const bias = h("input", { type: "checkbox", onchange: () => set({ logit_bias: bias.checked }) });
  const show = (settings) => {
    for (const part of parts) part.show(settings[part.name]);
    bias.checked = settings.logit_bias;
    for (const preset of presets)
      preset.button.ariaPressed = `${Object.keys(settings).every((name) => preset.settings[name] === settings[name])}`;
  };
  const title = "the settings and the step at which this was opened";
  const bar = h("div", { class: "tk-bar", role: "group", "aria-label": "settings" }, h("strong", {}, "Settings"),
    presets.map((preset) => preset.button), h("button", { onclick: reset, title }, "Reset"),
    content.bias && h("label", { class: "tk-field" }, bias, "the request's logit_bias"));
  return { box: h("section", {}, bar, h("div", { class: "tk-mic-sliders" }, parts.map((part) => part.row))), show };
}

// A setting as a slider and as a number.
function slider({ name, label, min, max, step }, set) {
  const isTopK = name === "top_k";
  const place = (value) => (isTopK && value === 0 ? max : value);
  const valueAt = (position) => (isTopK && position === max ? 0 : position);
  const range = h("input", {
    type: "range", min, max, step, "aria-label": label, oninput: () => set({ [name]: valueAt(+range.value) }) });
  const box = h("input", {
    type: "number", min: isTopK ? 0 : min, max: isTopK ? null : max, step: isTopK ? 1 : "any",
    "aria-label": `${label}, as a number`, onchange: () => box.value !== "" && set({ [name]: +box.value }) });
  const hint = isTopK && [" ", h("small", { class: "tk-faint" }, "0: all")];
  const row = h("div", { class: "tk-mic-slider" }, h("span", { class: "tk-faint" }, label, ...(hint || [])), range, box);
  const show = (value) => {
    range.value = place(value);
    range.setAttribute("aria-valuetext", isTopK && value === 0 ? "all" : `${value}`);
    box.value = value;
  };
  return { name, row, show };
}

// The numbers before and after the settings.
function tiles() {
  const tile = (label, title) => {
    const before = h("span"), after = h("strong");
    const arrow = h("span", { class: "tk-faint", "aria-label": "becomes" }, " → ");
    const box = h("div", { class: "tk-mic-tile", title },
      h("div", { class: "tk-faint" }, label), h("div", {}, before, arrow, after));
    return { before, after, box };
  };
  const entropy = tile("entropy, nats", "of the next token; a range holds whatever the tokens are that are not stored");
  const candidates = tile("effective candidates", "exp of the entropy: as many equally likely tokens would have it");
  const missing = tile("not stored", "the probability of all tokens beyond the top k that are stored, together");
  const fates = h("div", {});
  const box = h("div", { class: "tk-mic-tiles", hidden: true }, entropy.box, candidates.box, missing.box,
    h("div", { class: "tk-mic-tile" }, h("div", { class: "tk-faint" }, "stored tokens"), fates));
  const draw = (distribution) => {
    box.hidden = false;
    const pairs = [
      [entropy, distribution.entropy, numberRange], [candidates, distribution.candidates, numberRange],
      [missing, distribution.missing, percentRange],
    ];
    for (const [{ before, after }, bounds, format] of pairs) {
      before.textContent = format(...bounds[0]);
      after.textContent = format(...bounds[1]);
    }
    const counts = distribution.fates;
    const listed = FATES.filter((fate) => counts[fate] || fate === "kept");
    fates.textContent = listed.map((fate) => `${counts[fate]} ${fate}`).join(", ");
  };
  return { box, draw };
}

// The table of the step. Its rows are rebuilt only for another step.
function distributionTable(pick, branchingProblem, signal) {
  const body = h("tbody"), ceilingLabel = h("span");
  const axis = h("span", { class: "tk-mic-scale" }, h("span", {}, "0"), ceilingLabel);
  const problem = h("p", { class: "tk-error", role: "alert", hidden: true });
  const heads = [["token", "token"], ["bars", axis], ["before", "before"], ["after", "after"], ["fate", "fate"]];
  const grid = h("table", { class: "tk-mic-table" },
    h("colgroup", {}, heads.map(([name]) => h("col", { class: `tk-mic-col-${name}` }))),
    h("thead", {}, h("tr", {}, heads.map(([name, head]) =>
      h("th", { scope: "col", class: ["before", "after"].includes(name) && "tk-number" }, head)))), body);
  const hint = branchingProblem ?? "Click or Enter on a token: how the text goes on with it.";
  const under = h("div", { class: "tk-bar tk-mic-under" }, barLegend(), h("span", { class: "tk-faint" }, hint));
  const focus = rovingFocus(body, "button", signal);
  let step = null, rows = [];
  const build = (distribution) => {
    rows = distribution.rows.map((row) => tokenBars(row, () => pick(row)));
    body.replaceChildren(...rows.map((row) => row.element));
    focus.reset();
    step = distribution.step;
  };
  const draw = (distribution) => {
    problem.hidden = true;
    grid.hidden = false;
    grid.classList.remove("tk-mic-old");
    if (step !== distribution.step) build(distribution);
    // The row of all others may exceed the scale: including it would make the bars of single tokens too small.
    const single = distribution.rows.filter((row) => row.fate !== "others");
    const highest = Math.max(...single.flatMap((row) => [row.before, row.high]));
    const ceiling = CEILINGS.find((value) => value >= highest) ?? 1;
    ceilingLabel.textContent = `${100 * ceiling} %`;
    rows.forEach((row, i) => row.draw(distribution.rows[i], ceiling));
  };
  const showError = (message) => {
    problem.textContent = message;
    problem.hidden = false;
    grid.classList.add("tk-mic-old");
    grid.hidden = step === null;
  };
  return { box: h("section", {}, problem, grid, under), draw, showError };
}

function barLegend() {
  const signs = [
    ["tk-mic-before", "before"], ["tk-mic-low", "after, at least"], ["tk-mic-high", "at most: not known"],
    ["tk-mic-drawn", "the token that was drawn"],
  ];
  return h("span", { class: "tk-key" },
    signs.map(([name, label]) => h("span", {}, h("i", { class: `tk-mic-sign ${name}` }), label)));
}

// The row of a token: its bars before and after the settings.
function tokenBars({ id, text, drawn, seen, before, fate }, pick) {
  const bar = (name) => h("span", { class: name });
  const bars = { before: bar("tk-mic-before"), high: bar("tk-mic-high"), low: bar("tk-mic-low") };
  const drawnTitle = `${text} (id ${id}), drawn`, pickTitle = `go on with ${text} (id ${id})`;
  const name = fate === "others" ? h("span", { class: "tk-faint" }, text)
    : drawn ? h("button", { class: "tk-mic-pick tk-mic-drawn", "aria-disabled": "true", title: drawnTitle }, text)
    : h("button", { class: "tk-mic-pick", onclick: pick, title: pickTitle }, text);
  const seenTitle = `generated ${seen} times before: what the penalties count`;
  const times = seen ? h("small", { class: "tk-faint", title: seenTitle }, ` ×${seen}`) : null;
  const after = h("td", { class: "tk-number" }), explanation = h("td");
  const element = h("tr", {}, h("td", { class: "tk-mic-name" }, name, times),
    h("td", {}, h("div", { class: "tk-mic-track" }, Object.values(bars))),
    h("td", { class: "tk-number tk-faint" }, percentRange(before, before)), after, explanation);
  const draw = (row, ceiling) => {
    placeBar(bars.before, 0, row.before, ceiling);
    placeBar(bars.low, 0, row.low, ceiling);
    placeBar(bars.high, row.low, row.high, ceiling);
    after.textContent = percentRange(row.low, row.high);
    explanation.textContent = row.explanation;
    element.className = `tk-mic-${row.fate}`;
    element.classList.toggle("tk-mic-beyond", Math.max(row.before, row.high) > ceiling);
  };
  return { element, draw };
}

function placeBar(bar, from, to, ceiling) {
  const [left, right] = [from, to].map((x) => Math.min(100, (100 * x) / ceiling));
  bar.style.left = `${left}%`;
  bar.style.width = `${right - left}%`;
  bar.hidden = right === left;
}

// Two bounds, or one number where both read the same.
function numberRange(low, high) {
  const format = (x) => (x === null ? "–" : x >= 100 ? Math.round(x).toLocaleString("en") : x.toFixed(2));
  const [least, most] = [format(low), format(high)];
  return least === most ? least : `${least} – ${most}`;
}

function percentRange(low, high) {
  const format = (p) => (p === 0 ? "0" : p < 5e-5 ? "<0.01" : (100 * p).toFixed(p < 0.0995 ? 2 : 1));
  const [least, most] = [format(low), format(high)];
  return least === most ? `${least} %` : `${least} – ${most} %`;
}

// The branches, the newest first: original and branch, side by side from the fork on.
function branchCards({ content, request, on, signal }) {
  const list = h("div"), problem = h("p", { class: "tk-faint", role: "status" });
  const started = new Map(); // name → its card, and the timer of its clock
  const addCard = () => {
    const card = h("section", { class: "tk-mic-branch" });
    list.prepend(card);
    return card;
  };
  const start = (step, token) => {
    const card = addCard(), progress = h("span"), begin = Date.now();
    const pulse = h("i", { class: "tk-mic-pulse", "aria-hidden": "true" });
    card.append(h("p", { class: "tk-mic-working", role: "status" }, pulse, progress));
    const tick = () => {
      const seconds = Math.round((Date.now() - begin) / 1000);
      progress.textContent = `Step ${step}: going on with ${token.text} … ${seconds} s`;
    };
    tick();
    const timer = setInterval(tick, 500);
    signal.addEventListener("abort", () => clearInterval(timer));
    // The branch may arrive before the reply to this request, so this view names it here.
    const name = `${Math.random()}`;
    started.set(name, { card, timer });
    request("branch", { step, token: token.id, card: name })
      .catch((error) => finish({ card: name, error: error.message }));
  };
  const finish = (branch) => {
    const { card, timer } = started.get(branch.card) ?? { card: addCard() };
    clearInterval(timer);
    const error = branch.error && h("p", { class: "tk-error", role: "alert" }, branch.error);
    card.replaceChildren(...(error ? [error] : comparedBranch(branch)));
  };
  on("branch_finished", finish);
  content.branches.forEach((branch) => addCard().append(...comparedBranch(branch)));
  const showProblem = (text) => { problem.textContent = text; };
  return { box: h("section", { class: "tk-mic-branches" }, problem, list), start, showProblem };
}

function comparedBranch({ step, summary, before, notes, sides }) {
  const head = h("p", {}, h("strong", {}, `Branch at step ${step}`),
    h("span", { class: "tk-faint" }, ` · ${summary}, under the request's settings`));
  const text = (side) => h("div", { class: "tk-said", dir: "auto" }, h("mark", {}, side.token), side.rest);
  return [head, ...notes.map((note) => h("p", { class: "tk-faint" }, note)),
    before ? h("div", { class: "tk-said tk-faint", dir: "auto" }, before) : null,
    h("div", { class: "tk-mic-sides" }, sides.map((side) =>
      h("div", { class: "tk-mic-side" }, h("h4", {}, side.name), text(side))))].filter(Boolean);
}
