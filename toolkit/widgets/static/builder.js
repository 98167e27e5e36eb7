// The few-shot builder: examples and how they are chosen above, the prompt that comes of it below.
export default widget(async ({ root, content, ask, signal }) => {
  let state = content;

  const failure = h("p", { class: "tk-error", role: "alert" });
  // Each change is answered with all that is shown; of several the last answer holds.
  const send = latest(ask);
  const change = async (what, given, focus) => {
    try {
      state = await send(what, given);
      failure.textContent = "";
      draw(focus);
    } catch (error) { failure.textContent = error.message; }
  };

  // Examples
  const table = h("div", { class: "tk-build-table" });
  const act = (label, sign, f, disabled) => h("button", { type: "button", "aria-label": label, title: label, disabled, onclick: f }, sign);
  const row = (one) => {
    const n = one.place;
    const cells = one.values.map((value, i) => {
      const box = h("textarea", { rows: 1, "aria-label": `${state.columns[i]} of example ${n}`, readOnly: value.cut,
        title: value.cut ? "too long to be edited here" : null,
        onchange: () => change("edit", { place: n, name: state.names[i], text: box.value }) });
      box.value = value.text;
      return h("td", {}, box);
    });
    const moved = (by) => () => change("move", { place: n, by }, [`move example ${n + by} ${by < 0 ? "up" : "down"}`, `include example ${n + by}`]);
    return h("tr", { class: one.included ? "" : "tk-build-out" },
      h("td", {}, h("input", { type: "checkbox", checked: one.included, "aria-label": `include example ${n}`,
        onchange: (event) => change("include", { place: n, included: event.target.checked }, [`include example ${n}`]) })),
      h("td", { class: "tk-number" }, `${n}`),
      h("td", {}, one.shown && h("span", { class: "tk-badge tk-build-shown", title: "its place among the examples that this row is shown" }, `shown ${one.shown}`)),
      cells,
      h("td", { class: "tk-build-acts" },
        act(`move example ${n} up`, "↑", moved(-1), n === 0), act(`move example ${n} down`, "↓", moved(1), n === state.total - 1),
        act(`remove example ${n}`, "✕", () => change("remove", { place: n }, [`remove example ${Math.min(n, state.total - 2)}`]))));
  };
  const drawTable = () => {
    const pages = state.pages > 1 && h("span", { class: "tk-build-pages" },
      act("previous page", "◀", () => change("page", { page: state.page - 1 }, ["previous page", "next page"]), state.page === 0),
      `page ${state.page + 1} of ${state.pages}`,
      act("next page", "▶", () => change("page", { page: state.page + 1 }, ["next page", "previous page"]), state.page === state.pages - 1));
    table.replaceChildren(
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { title: "include" }, "✓"), h("th", {}, "#"), h("th", {}, ""), state.columns.map((name) => h("th", {}, name)), h("th", {}, ""))),
        h("tbody", {}, state.examples.map(row))),
      h("div", { class: "tk-bar" }, h("button", { type: "button", onclick: () => change("add", {}, [`${state.columns[0]} of example ${state.total}`]) }, "+ add an example"),
        h("span", { class: "tk-faint" }, `${state.included} of ${state.total} included`), pages));
  };

  // How they are chosen, and the window
  const errors = new Map();
  const place = (name) => {
    errors.set(name, h("div", { class: "tk-error tk-build-error", role: "alert" }));
    return errors.get(name);
  };
  const set = () => change("set", {
    shots: { k: k.value, order_seed: order.value, selector: { name: chooser.value, options: Object.fromEntries([...options].map(([name, box]) => [name, box.value])) } },
    fit: { window: size.value, reserve: reserve.value, strategy: strategy.value } });
  const text = (label, hint) => h("input", { type: "text", inputMode: "numeric", autocomplete: "off", "aria-label": label, placeholder: hint, onchange: set });
  const options = new Map();
  const optionBox = h("span", { class: "tk-bar tk-build-options" });
  const drawOptions = (given = {}) => {
    options.clear();
    optionBox.replaceChildren(...content.selectors[chooser.value].map((name) => {
      const box = text(name, name === "by" ? "the answer" : "");
      box.value = given[name] ?? "";
      options.set(name, box);
      return field(name, box);
    }));
  };
  const chooser = select(Object.keys(content.selectors).map((name) => [name, name]), content.shots.selector.name, () => { drawOptions(); set(); });
  const k = text("k", "all"), order = text("order_seed", "as chosen");
  const size = text("window", ""), reserve = text("reserve", "");
  const strategy = select(content.strategies.map((name) => [name, name === "refuse" ? "nothing" : name]), content.fit.strategy, set);
  k.value = content.shots.k ?? "";
  order.value = content.shots.order_seed ?? "";
  size.value = content.fit.window;
  reserve.value = content.fit.reserve;
  drawOptions(content.shots.selector.options);
  const shuffle = act("another order", "⟳", () => { order.value = order.value === "" ? 0 : +order.value + 1; set(); });

  // The row
  const picker = h("input", { type: "text", inputMode: "numeric", "aria-label": "row", onchange: () => go(+picker.value || 0) });
  const go = (to) => change("row", { row: to });
  const back = act("previous row", "◀", () => go(state.row - 1)), forth = act("next row", "▶", () => go(state.row + 1));
  const values = h("div", { class: "tk-said tk-faint tk-build-row" });

  // The prompt
  const tokens = h("div", { class: "tk-build-tokens" });
  const fits = h("div", { role: "status" });
  const prompt = h("div", { class: "tk-build-prompt" });
  const drawPrompt = () => {
    const { turns, sizes, errors: wrong } = state;
    for (const [name, box] of errors) box.textContent = wrong[name] ?? "";
    prompt.replaceChildren(...turns.map(([role, parts]) => h("div", { class: "tk-build-turn", "data-example": `${parts.length === 1 && parts[0][1] !== null}` },
      h("small", { class: "tk-faint" }, role), parts.map(([said, n]) => n === null ? h("div", { class: "tk-said" }, said) : marked(said, n, role, sizes)))));
    const each = sizes?.slice(1) ?? [];
    tokens.replaceChildren(...(state.tokens === null ? [] : [
      h("b", {}, `${state.estimate ? "about " : ""}${number(state.tokens)} tokens`),
      each.length ? h("span", {}, `${number(sizes[0])} without examples, then ${each.map((n) => number(n)).join(" + ")}`) : null,
      h("span", { class: "tk-faint" }, `${state.estimate ? "an estimate" : "exact"}: ${state.counter}`)]).filter((one) => one));
    fits.textContent = state.fits ? `${state.fitted ? "✓" : "✕"} ${state.fits}` : "";
    fits.className = state.fitted ? "tk-faint" : "tk-error";
  };
  const marked = (said, n, role, sizes) => h("div", { class: `tk-build-example${n < (state.out ?? 0) ? " tk-build-left" : ""}` },
    role === "assistant" && state.turns.length > 1 ? null : h("span", { class: "tk-badge" }, `example ${n + 1}${sizes ? `: ${number(sizes[n + 1])} tokens` : ""}${n < (state.out ?? 0) ? ", left out" : ""}`),
    h("div", { class: "tk-said" }, said));

  // The code
  const code = h("section", { class: "tk-build-code", "aria-label": "code", hidden: true });
  const showCode = async () => {
    try {
      const made = await ask("code");
      failure.textContent = "";
      const box = h("pre", { class: "tk-code", tabindex: "0" }, made);
      const copy = h("button", { type: "button", onclick: async () => {
        try { await navigator.clipboard.writeText(made); copy.textContent = "copied"; }
        catch { getSelection().selectAllChildren(box); copy.textContent = "selected: copy it with Ctrl+C"; }
      } }, "copy");
      code.hidden = false;
      code.replaceChildren(h("div", { class: "tk-bar" }, h("b", {}, "The prompt in Python"), copy, h("button", { type: "button", onclick: () => (code.hidden = true) }, "close")), box);
      copy.focus();
    } catch (error) { failure.textContent = error.message; }
  };

  const draw = (focus) => {
    // Cells are drawn anew: whoever was in one stays there.
    const there = focus ?? [root.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null];
    drawTable();
    drawPrompt();
    picker.value = state.row;
    back.disabled = state.row === 0;
    forth.disabled = state.row === state.rows - 1;
    values.replaceChildren(...state.values.flatMap(([name, value]) => [h("b", {}, `${name} `), `${value}  `]));
    if (root.contains(document.activeElement)) return;
    const found = there.filter((label) => label).map((label) => [...root.querySelectorAll("[aria-label]")].find((one) => one.getAttribute("aria-label") === label && !one.disabled));
    found.find((one) => one)?.focus();
  };

  root.append(h("div", { class: "tk-build" }, failure, table,
    h("div", { class: "tk-build-set" },
      h("div", { class: "tk-bar" }, field("selector", chooser), optionBox, field("k", k), field("order_seed", order), shuffle),
      place("selector"), place("k"), place("order_seed")),
    h("div", { class: "tk-bar" }, field("row", picker), h("span", { class: "tk-faint" }, `of ${content.rows}`), back, forth, values),
    h("div", { class: "tk-build-told" }, tokens,
      h("div", { class: "tk-bar" }, field("window", size), field("kept for the answer", reserve), field("may be left out", strategy), fits),
      place("window"), place("reserve")),
    place("prompt"), prompt, h("div", { class: "tk-bar" }, h("button", { type: "button", onclick: showCode }, "code")), code));
  draw();
});
