// The few-shot builder: the examples and how they are chosen above, the resulting prompt below.
export default widget(async ({ root, content, ask, on, signal }) => {
  let state = content;

  const failure = h("p", { class: "tk-error", role: "alert" });
  const failed = (error) => (failure.textContent = error.message);
  // Each change replaces the content in every view of the builder. focus: names of the elements to focus afterwards.
  on("content", (now) => { state = now; draw(); });
  const change = async (what, given, ...focus) => {
    try {
      await ask(what, given);
      failure.textContent = "";
      draw();
      const found = focus.map((label) => [...table.querySelectorAll("[aria-label]")].find((one) => one.ariaLabel === label && !one.disabled));
      if (focus.length) (found.find((one) => one) ?? adding).focus();
    } catch (error) { failed(error); }
  };
  // An input that is being edited keeps its text when the content changes.
  const put = (box, text) => {
    if (box === document.activeElement && box.value !== box.defaultValue) return;
    if (box.value !== text) box.value = text;
    box.defaultValue = text;
  };

  // Examples. Row elements are reused for the new content, so that the focus is kept.
  const act = (label, sign, f) => h("button", { type: "button", "aria-label": label, title: label, onclick: f }, sign);
  const name = (button, label) => { button.ariaLabel = button.title = label; };
  const row = () => {
    let n = 0;
    const include = h("input", { type: "checkbox", onchange: () => change("include", { place: n, included: include.checked }) });
    const number = h("td", { class: "tk-number" }), shown = h("td", {});
    const cells = state.names.map((variable) => h("textarea", { rows: 1,
      onchange: (event) => change("edit", { place: n, name: variable, text: event.target.value }) }));
    const moved = (by) => () => change("move", { place: n, by }, `move example ${n + by} ${by < 0 ? "up" : "down"}`, `include example ${n + by}`);
    const up = act("", "↑", moved(-1)), down = act("", "↓", moved(1));
    const remove = act("", "✕", () => change("remove", { place: n }, `remove example ${Math.min(n, state.total - 2)}`));
    const element = h("tr", {}, h("td", {}, include), number, shown, cells.map((box) => h("td", {}, box)), h("td", { class: "tk-build-acts" }, up, down, remove));
    const show = (one) => {
      n = one.place;
      element.classList.toggle("tk-build-out", !one.included);
      include.checked = one.included;
      include.ariaLabel = `include example ${n}`;
      number.textContent = n;
      shown.replaceChildren(...(one.shown ? [h("span", { class: "tk-badge tk-build-shown", title: "its place among the examples that this row is shown" }, `shown ${one.shown}`)] : []));
      one.values.forEach((value, i) => {
        put(cells[i], value.text);
        cells[i].ariaLabel = `${state.columns[i]} of example ${n}`;
        cells[i].readOnly = value.cut;
        cells[i].title = value.cut ? "too long to be edited here" : "";
      });
      name(up, `move example ${n} up`);
      name(down, `move example ${n} down`);
      name(remove, `remove example ${n}`);
      up.disabled = n === 0;
      down.disabled = n === state.total - 1;
    };
    return { element, show };
  };
  const head = h("tr", {}), body = h("tbody", {});
  let rows = [], names = null;
  const drawTable = () => {
    if (names !== state.names.join("\n")) { // the columns changed
      names = state.names.join("\n");
      head.replaceChildren(h("th", { title: "include" }, "✓"), h("th", {}, "#"), h("th", {}), ...state.columns.map((one) => h("th", {}, one)), h("th", {}));
      rows = [];
      body.replaceChildren();
    }
    while (rows.length > state.examples.length) rows.pop().element.remove();
    while (rows.length < state.examples.length) {
      rows.push(row());
      body.append(rows.at(-1).element);
    }
    rows.forEach((one, i) => one.show(state.examples[i]));
    included.textContent = `${state.included} of ${state.total} included`;
    pages.hidden = state.pages === 1;
    page.textContent = `page ${state.page + 1} of ${state.pages}`;
    previous.disabled = state.page === 0;
    next.disabled = state.page === state.pages - 1;
  };
  const adding = h("button", { type: "button", onclick: () => change("add", {}, `${state.columns[0]} of example ${state.total}`) }, "+ add an example");
  const included = h("span", { class: "tk-faint" }), page = h("span", {});
  const previous = act("previous page", "◀", () => change("page", { page: state.page - 1 }, "previous page", "next page"));
  const next = act("next page", "▶", () => change("page", { page: state.page + 1 }, "next page", "previous page"));
  const pages = h("span", { class: "tk-build-pages" }, previous, page, next);
  const table = h("div", { class: "tk-build-table" }, h("table", {}, h("thead", {}, head), body), h("div", { class: "tk-bar" }, adding, included, pages));

  // How examples are chosen, and the context window
  const errors = new Map();
  const place = (of) => {
    errors.set(of, h("div", { class: "tk-error tk-build-error", role: "alert" }));
    return errors.get(of);
  };
  const set = () => change("set", {
    shots: { k: k.value, order_seed: order.value, selector: { name: chooser.value, options: Object.fromEntries([...options].map(([option, box]) => [option, box.value])) } },
    fit: { window: size.value, reserve: reserve.value, strategy: strategy.value } });
  const text = (label, hint) => h("input", { type: "text", inputMode: "numeric", autocomplete: "off", "aria-label": label, placeholder: hint, onchange: set });
  const options = new Map();
  const optionBox = h("span", { class: "tk-bar tk-build-options" });
  const drawOptions = () => {
    options.clear();
    const usual = Object.entries(state.selectors[chooser.value]);
    optionBox.replaceChildren(...usual.map(([option, value]) => {
      const box = text(option, option === "by" ? "the answer" : `${value ?? ""}`);
      options.set(option, box);
      return field(option, box);
    }));
  };
  const chooser = select(Object.keys(content.selectors).map((one) => [one, one]), content.shots.selector.name, () => { drawOptions(); set(); });
  const k = text("k", "all"), order = text("order_seed", "as chosen");
  const size = text("window", ""), reserve = text("reserve", "");
  const strategy = select(content.strategies.map((one) => [one, one === "refuse" ? "nothing" : one]), content.fit.strategy, set);
  const shuffle = act("another order", "⟳", () => {
    order.value = Number.isInteger(+order.value) && order.value !== "" ? +order.value + 1 : 0;
    set();
  });
  drawOptions();
  const drawSettings = () => {
    const { shots, fit } = state;
    if (chooser.value !== shots.selector.name) {
      chooser.value = shots.selector.name;
      drawOptions();
    }
    for (const [option, box] of options) put(box, shots.selector.options[option] ?? "");
    put(k, shots.k);
    put(order, shots.order_seed);
    put(size, fit.window);
    put(reserve, fit.reserve);
    strategy.value = fit.strategy;
    for (const [of, box] of errors) box.textContent = state.errors[of] ?? "";
  };

  // The row
  const picker = h("input", { type: "text", inputMode: "numeric", "aria-label": "row", onchange: () => go(+picker.value || 0) });
  const go = async (to) => { await change("row", { row: to }); picker.value = state.row; };
  const back = act("previous row", "◀", () => go(state.row - 1)), forth = act("next row", "▶", () => go(state.row + 1));
  const values = h("div", { class: "tk-said tk-faint tk-build-row" });
  const drawRow = () => {
    put(picker, `${state.row}`);
    back.disabled = state.row === 0;
    forth.disabled = state.row === state.rows - 1;
    values.replaceChildren(...state.values.flatMap(([variable, value]) => [h("b", {}, `${variable} `), `${value}  `]));
  };

  // The prompt
  const tokens = h("div", { class: "tk-build-tokens" });
  const fits = h("div", { role: "status" });
  const prompt = h("div", { class: "tk-build-prompt" });
  const drawPrompt = () => {
    const { turns, sizes } = state;
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
  const marked = (said, n, role, sizes) => h("div", { class: `tk-build-example${n < state.out ? " tk-build-left" : ""}` },
    role === "assistant" && state.turns.length > 1 ? null : h("span", { class: "tk-badge" }, `example ${n + 1}${sizes ? `: ${number(sizes[n + 1])} tokens` : ""}${n < state.out ? ", left out" : ""}`),
    h("div", { class: "tk-said" }, said));

  // The code
  const code = h("section", { class: "tk-build-code", "aria-label": "code", hidden: true });
  const codeButton = h("button", { type: "button", onclick: () => showCode() }, "code");
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
      code.replaceChildren(h("div", { class: "tk-bar" }, h("b", {}, "The prompt in Python"), copy,
        h("button", { type: "button", onclick: () => { code.hidden = true; codeButton.focus(); } }, "close")), box);
      copy.focus();
    } catch (error) { failed(error); }
  };

  const draw = () => {
    drawTable();
    drawSettings();
    drawRow();
    drawPrompt();
  };

  root.append(h("div", { class: "tk-build" }, failure, table,
    h("div", { class: "tk-build-set" },
      h("div", { class: "tk-bar" }, field("selector", chooser), optionBox, field("k", k), field("order_seed", order), shuffle),
      place("selector"), place("k"), place("order_seed")),
    h("div", { class: "tk-bar" }, field("row", picker), h("span", { class: "tk-faint" }, `of ${content.rows}`), back, forth, values),
    h("div", { class: "tk-build-told" }, tokens,
      h("div", { class: "tk-bar" }, field("window", size), field("kept for the answer", reserve), field("may be left out", strategy), fits),
      place("window"), place("reserve")),
    place("prompt"), prompt, h("div", { class: "tk-bar" }, codeButton), code));
  draw();
});
