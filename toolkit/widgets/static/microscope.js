// Sampling parameters as sliders over a step of a completion. The kernel computes every distribution; the frontend
// draws it and reuses the rows, so that bars move with a slider and the focus is kept.

const CEILINGS = [0.05, 0.1, 0.25, 0.5, 1];
const FATES = ["kept", "unknown", "cut"];

export default widget(({ root, content, ask, on, signal }) => {
  let step = content.step, settings = { ...content.settings };

  // At most one request at a time, each with the settings at the time it is sent.
  const show = paced(async () => {
    try {
      draw(await ask("at", { step, settings }));
    } catch (error) {
      table.refuse(error.message);
    }
  });
  const choose = (to) => {
    step = Math.max(0, Math.min(content.total - 1, to));
    return show();
  };
  const set = (changes) => {
    settings = { ...settings, ...changes };
    controls.reflect(settings);
    show();
  };
  const draw = (now) => {
    if (now.error) return table.refuse(now.error);
    table.draw(now);
    summary.draw(now);
    status.tell(said(now));
  };

  const status = liveLine();
  const text = strip(content, ask, choose, signal);
  const controls = sliders(content, set, () => { set(content.settings); text.go(content.step); });
  const summary = tiles();
  const forks = branches(content, ask, on, signal);
  const table = distribution((token) => content.lacks ? forks.lack(content.lacks) : forks.begin(step, token), content.lacks, signal);

  root.classList.add("tk-mic");
  root.append(text.box, controls.box, status.box,
    ...content.notes.map((note) => h("p", { class: "tk-faint" }, note)), summary.box, table.box, forks.box);
  controls.reflect(settings);
  draw(content.now);
  tip(root, ".tk-mic-token", text.told, signal);
});

// Runs f at once. Calls during a run are merged into one more run after it.
function paced(f) {
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
function liveLine() {
  const box = h("p", { class: "tk-mic-status tk-faint", role: "status" });
  return { box, tell: settled((text) => { if (box.textContent !== text) box.textContent = text; }, 300) };
}

function said(now) {
  const before = now.counted === 1 ? "1 token before this step counts" : `${now.counted} tokens before this step count`;
  const greedy = now.greedy ? " At temperature 0 the most likely token is taken: top-p, top-k and min-p change nothing." : "";
  return `${before} for the penalties.${greedy}`;
}

// The text; each token can be focused, and the focused one is the step.
function strip(content, ask, choose, signal) {
  let { first, texts, p, ranks } = content.page, current = content.step;
  const box = h("div", { class: "tk-said tk-mic-text", role: "listbox", dir: "auto", "aria-label": "tokens of the completion", "aria-orientation": "horizontal" });
  const where = h("input", { type: "number", min: 0, max: content.total - 1, value: current, "aria-label": "step", onchange: () => go(+where.value, false) });
  const at = (i) => box.querySelector(`[data-step="${i}"]`);
  const fill = () => {
    box.replaceChildren(...texts.map((text, i) =>
      h("span", { class: `tk-mic-token${first + i < content.given ? " tk-mic-given" : ""}`, role: "option", tabIndex: -1, "data-step": `${first + i}`,
        style: { "--surprise": surprise(p[i]) } }, text.replaceAll("\n", "⏎\n") || "∅")));
  };
  const mark = (to) => {
    at(current)?.removeAttribute("aria-selected");
    current = to;
    box.querySelectorAll("[tabindex='0']").forEach((one) => (one.tabIndex = -1));
    const one = at(to);
    one.setAttribute("aria-selected", "true");
    one.tabIndex = 0;
    one.scrollIntoView({ block: "nearest", inline: "nearest" });
    where.value = to;
    before.disabled = to === 0;
    after.disabled = to === content.total - 1;
  };
  const go = async (to, focus = true) => {
    to = Math.max(0, Math.min(content.total - 1, Math.round(to) || 0));
    if (!at(to)) {
      ({ first, texts, p, ranks } = await ask("tokens", { step: to }));
      fill();
    }
    mark(to);
    choose(to);
    if (focus) at(to).focus({ preventScroll: true });
  };
  const before = h("button", { "aria-label": "step before", onclick: () => go(current - 1, false) }, "◀");
  const after = h("button", { "aria-label": "step after", onclick: () => go(current + 1, false) }, "▶");
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  box.addEventListener("keydown", (event) => {
    const to = event.key in steps ? current + steps[event.key] : event.key === "Home" ? 0 : event.key === "End" ? content.total - 1 : null;
    if (to === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (to >= 0 && to < content.total) go(to);
  }, { signal });
  box.addEventListener("click", (event) => {
    const one = event.target.closest(".tk-mic-token");
    if (one) go(+one.dataset.step);
  }, { signal });
  fill();
  const told = (one) => {
    const i = +one.dataset.step - first;
    const rank = ranks?.[i] ? `, rank ${ranks[i].toLocaleString("en")}` : "";
    const given = first + i < content.given ? ", given: no penalty counts it" : "";
    return h("span", {}, `step ${first + i}: ${p[i] === null ? "probability not known" : `probability ${share(p[i], p[i])}`}${rank}${given}`);
  };
  const head = h("div", { class: "tk-bar" }, h("strong", {}, "Step"), h("span", { class: "tk-mic-steps" }, before, where, after), h("span", { class: "tk-faint" }, `of 0 to ${content.total - 1}; ← and → in the text, where marks grow with the surprisal`));
  mark(current);
  return { box: h("section", {}, head, box), go: (to) => go(to, false), told };
}

// The height of the mark below a token, 0 to 1: surprisal, capped at 8 nats.
const surprise = (p) => (p === null ? 0 : Math.min(1, -Math.log(Math.max(p, 1e-9)) / 8).toFixed(2));

function sliders(content, set, reset) {
  const most = Math.max(50, content.stored, content.settings.top_k) + 1;
  const known = [
    ["temperature", "temperature", 0, 2, 0.01],
    ["top_p", "top-p", 0.01, 1, 0.01],
    ["top_k", "top-k", 1, most, 1],
    ["min_p", "min-p", 0, 1, 0.01],
    ["frequency_penalty", "frequency penalty", -2, 2, 0.05],
    ["presence_penalty", "presence penalty", -2, 2, 0.05],
  ];
  // A top-k of 0 keeps all tokens: the slider's right end.
  const place = (name, value) => (name === "top_k" && value === 0 ? most : value);
  const value = (name, at) => (name === "top_k" && at === most ? 0 : at);
  const parts = known.map(([name, label, min, max, step]) => {
    const range = h("input", { type: "range", min, max, step, "aria-label": label, oninput: () => set({ [name]: value(name, +range.value) }) });
    const box = h("input", { type: "number", min: name === "top_k" ? 0 : min, max: name === "top_k" ? null : max, step: name === "top_k" ? 1 : "any",
      "aria-label": `${label}, as a number`, onchange: () => box.value !== "" && set({ [name]: +box.value }) });
    const hint = name === "top_k" ? h("small", { class: "tk-faint" }, "0: all") : null;
    return { name, range, box, row: h("div", { class: "tk-mic-slider" }, h("span", { class: "tk-faint" }, label, hint && " ", hint), range, box) };
  });
  const same = (a, b) => known.every(([name]) => a[name] === b[name]);
  const presets = content.presets.map(([label, given]) => ({ given, button: h("button", { onclick: () => set(given) }, label) }));
  const reflect = (settings) => {
    for (const { name, range, box } of parts) {
      range.value = place(name, settings[name]);
      range.setAttribute("aria-valuetext", name === "top_k" && settings[name] === 0 ? "all" : `${settings[name]}`);
      box.value = settings[name];
    }
    for (const { given, button } of presets) button.setAttribute("aria-pressed", `${same(given, settings)}`);
  };
  const bar = h("div", { class: "tk-bar", role: "group", "aria-label": "settings" }, h("strong", {}, "Settings"), presets.map((one) => one.button),
    h("button", { onclick: reset, title: "the settings and the step at which this was opened" }, "Reset"));
  return { box: h("section", {}, bar, h("div", { class: "tk-mic-sliders" }, parts.map((one) => one.row))), reflect };
}

// The numbers before and after the settings.
function tiles() {
  const tile = (label, title) => {
    const before = h("span"), after = h("strong");
    return { before, after, box: h("div", { class: "tk-mic-tile", title }, h("div", { class: "tk-faint" }, label), h("div", {}, before, h("span", { class: "tk-faint", "aria-label": "becomes" }, " → "), after)) };
  };
  const entropy = tile("entropy, nats", "of the next token; a range holds whatever the tokens are that are not stored");
  const candidates = tile("effective candidates", "exp of the entropy: as many equally likely tokens would have it");
  const missing = tile("not stored", "the probability of all tokens beyond the top k that are stored, together");
  const fates = h("div", {});
  const draw = (now) => {
    box.hidden = false;
    const pairs = [[entropy, now.entropy, span], [candidates, now.candidates, span], [missing, now.missing, (both) => share(...both)]];
    for (const [one, [before, after], words] of pairs) {
      one.before.textContent = words(before);
      one.after.textContent = words(after);
    }
    fates.textContent = FATES.filter((fate) => now.fates[fate] || fate === "kept").map((fate) => `${now.fates[fate]} ${fate}`).join(", ");
  };
  const box = h("div", { class: "tk-mic-tiles", hidden: true }, entropy.box, candidates.box, missing.box, h("div", { class: "tk-mic-tile" }, h("div", { class: "tk-faint" }, "stored tokens"), fates));
  return { box, draw };
}

// The table of the step. Its rows are rebuilt only for another step.
function distribution(pick, lacks, signal) {
  const body = h("tbody"), ends = h("span", { class: "tk-mic-scale" }, h("span", {}, "0"), h("span"));
  const problem = h("p", { class: "tk-error", role: "alert", hidden: true });
  const key = h("span", { class: "tk-key" },
    [["tk-mic-before", "before"], ["tk-mic-low", "after, at least"], ["tk-mic-high", "at most: not known"], ["tk-mic-drawn", "the token that was drawn"]].map(([name, label]) => h("span", {}, h("i", { class: `tk-mic-sign ${name}` }), label)));
  const head = h("tr", {}, h("th", { scope: "col" }, "token"), h("th", { scope: "col" }, ends), h("th", { scope: "col", class: "tk-number" }, "before"), h("th", { scope: "col", class: "tk-number" }, "after"), h("th", { scope: "col" }, "fate"));
  const grid = h("table", { class: "tk-mic-table" }, h("colgroup", {}, ["token", "bars", "before", "after", "fate"].map((name) => h("col", { class: `tk-mic-col-${name}` }))), h("thead", {}, head), body);
  const hint = h("span", { class: "tk-faint" }, lacks ?? "Click or Enter on a token: how the text goes on with it.");
  const box = h("section", {}, problem, grid, h("div", { class: "tk-bar tk-mic-under" }, key, hint));
  let drawn = null, rows = [];
  const moves = roving(body, "button", signal);
  const build = (now) => {
    rows = now.rows.map((row) => line(row, () => pick(row)));
    body.replaceChildren(...rows.map((one) => one.row));
    moves.reset();
    drawn = now.step;
  };
  const draw = (now) => {
    problem.hidden = true;
    grid.hidden = false;
    grid.classList.remove("tk-mic-old");
    if (drawn !== now.step) build(now);
    // The row of all others may exceed the scale: including it would make the bars of single tokens too small.
    const most = Math.max(...now.rows.filter((row) => row.fate !== "others").flatMap((row) => [row.before, row.high]));
    const ceiling = CEILINGS.find((one) => one >= most) ?? 1;
    ends.lastChild.textContent = `${100 * ceiling} %`;
    rows.forEach((one, i) => one.draw(now.rows[i], ceiling));
  };
  const refuse = (reason) => {
    problem.textContent = reason;
    problem.hidden = false;
    grid.classList.add("tk-mic-old");
    grid.hidden = drawn === null;
  };
  return { box, draw, refuse };
}

function line({ id, text, drawn, seen, before, fate }, pick) {
  const part = (name) => h("span", { class: name });
  const bars = { before: part("tk-mic-before"), high: part("tk-mic-high"), low: part("tk-mic-low") };
  const name = fate === "others" ? h("span", { class: "tk-faint" }, text)
    : drawn ? h("button", { class: "tk-mic-pick tk-mic-drawn", "aria-disabled": "true", title: `${text} (id ${id}), drawn` }, text)
    : h("button", { class: "tk-mic-pick", onclick: pick, title: `go on with ${text} (id ${id})` }, text);
  const times = seen ? h("small", { class: "tk-faint", title: `generated ${seen} times before: what the penalties count` }, ` ×${seen}`) : null;
  const after = h("td", { class: "tk-number" }), told = h("td");
  const row = h("tr", {}, h("td", { class: "tk-mic-name" }, name, times), h("td", {}, h("div", { class: "tk-mic-track" }, Object.values(bars))),
    h("td", { class: "tk-number tk-faint" }, share(before, before)), after, told);
  const draw = (now, ceiling) => {
    const place = (bar, from, to) => {
      const [left, right] = [from, to].map((x) => Math.min(100, (100 * x) / ceiling));
      bar.style.left = `${left}%`;
      bar.style.width = `${right - left}%`;
      bar.hidden = right === left;
    };
    place(bars.before, 0, now.before);
    place(bars.low, 0, now.low);
    place(bars.high, now.low, now.high);
    after.textContent = share(now.low, now.high);
    told.textContent = now.told;
    row.className = `tk-mic-${now.fate}`;
    row.classList.toggle("tk-mic-beyond", Math.max(now.before, now.high) > ceiling);
  };
  return { row, draw };
}

// Two bounds, or one number where both read the same.
function span([low, high]) {
  const [least, most] = [low, high].map((x) => (x === null ? "–" : x >= 100 ? Math.round(x).toLocaleString("en") : x.toFixed(2)));
  return least === most ? least : `${least} – ${most}`;
}

function share(low, high) {
  const words = (p) => (p === 0 ? "0" : p < 5e-5 ? "<0.01" : (100 * p).toFixed(p < 0.0995 ? 2 : 1));
  const [least, most] = [words(low), words(high)];
  return least === most ? `${least} %` : `${least} – ${most} %`;
}

// The branches, the newest first: original and branch, side by side from the fork on.
function branches(content, ask, on, signal) {
  const list = h("div"), lacking = h("p", { class: "tk-faint", role: "status" });
  const begun = new Map();
  const card = () => {
    const one = h("section", { class: "tk-mic-branch" });
    list.prepend(one);
    return one;
  };
  const begin = (step, token) => {
    const box = card(), words = h("span"), began = Date.now();
    box.append(h("p", { class: "tk-mic-working", role: "status" }, h("i", { class: "tk-mic-pulse", "aria-hidden": "true" }), words));
    const tick = () => (words.textContent = `Step ${step}: going on with ${token.text} … ${Math.round((Date.now() - began) / 1000)} s`);
    tick();
    const timer = setInterval(tick, 500);
    signal.addEventListener("abort", () => clearInterval(timer));
    // The branch may arrive before the response to this request, so this view names it here.
    const name = `${Math.random()}`;
    begun.set(name, { box, timer });
    ask("branch", { step, token: token.id, card: name }).catch((error) => end({ card: name, error: error.message }));
  };
  const end = (told) => {
    const { box, timer } = begun.get(told.card) ?? { box: card() };
    clearInterval(timer);
    box.replaceChildren(...(told.error ? [h("p", { class: "tk-error", role: "alert" }, told.error)] : fork(told)));
  };
  on("branch", end);
  content.branches.forEach((told) => card().append(...fork(told)));
  return { box: h("section", { class: "tk-mic-branches" }, lacking, list), begin, lack: (reason) => { lacking.textContent = reason; } };
}

function fork(told) {
  const head = h("p", {}, h("strong", {}, `Branch at step ${told.step}`), h("span", { class: "tk-faint" }, ` · ${told.told}, under the request's settings`));
  const sides = told.sides.map((side) =>
    h("div", { class: "tk-mic-side" }, h("h4", {}, side.name), h("div", { class: "tk-said", dir: "auto" }, h("mark", {}, side.token), side.rest)));
  return [head, ...told.notes.map((note) => h("p", { class: "tk-faint" }, note)),
    told.before ? h("div", { class: "tk-said tk-faint", dir: "auto" }, told.before) : null,
    h("div", { class: "tk-mic-sides" }, sides)].filter(Boolean);
}
