// The few-shot builder: the examples and how they are chosen above, the resulting prompt below. Each change replaces
// the content in every view of the builder.
export default widget(({ root, content, request, on }) => {
  let state = content;
  const problem = h("p", { class: "tk-error", role: "alert" });
  const attempt = async (f) => {
    try {
      await f();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  // labels: names of the elements to focus afterwards, the first that can be.
  const change = (command, args, ...labels) => attempt(async () => {
    await request(command, args);
    problem.textContent = "";
    draw();
    if (labels.length) focusByLabel(table.box, labels, table.add);
  });

  const errors = errorPlaces("tk-build-error");
  const table = new ExampleTable(change);
  const shots = new ShotSettings(content, change);
  const row = rowPicker(change), prompt = promptPreview();
  const draw = () => {
    for (const part of [table, shots, row, prompt]) part.draw(state);
    errors.show(state.errors);
  };
  on("content", (update) => { state = update; draw(); });

  const code = h("section", { class: "tk-build-code", "aria-label": "code", hidden: true });
  const codeButton = h("button", { type: "button", onclick: () => attempt(async () => {
    const source = await request("code");
    problem.textContent = "";
    showSource(code, "The prompt in Python", source, () => codeButton.focus());
  }) }, "code");

  root.append(h("div", { class: "tk-build" }, problem, table.box,
    h("div", { class: "tk-build-set" }, shots.selection, ["selector", "k", "order_seed"].map(errors.place)),
    h("div", { class: "tk-bar" }, row.input, h("span", { class: "tk-faint" }, `of ${content.rows}`), row.buttons, row.values),
    h("div", { class: "tk-build-told" }, prompt.tokens,
      h("div", { class: "tk-bar" }, shots.contextWindow, prompt.fits), ["window", "reserve"].map(errors.place)),
    errors.place("prompt"), prompt.box, h("div", { class: "tk-bar" }, codeButton), code));
  draw();
});

// Sets the text of an input, but not of one that is being edited.
function setText(box, text) {
  if (box === document.activeElement && box.value !== box.defaultValue) return;
  if (box.value !== text) box.value = text;
  box.defaultValue = text;
}

// The examples of a page. Row elements are reused for the new content, so that the focus is kept.
class ExampleTable {
  constructor(change) {
    this.change = change;
    this.rows = [];
    this.names = null;
    this.head = h("tr", {});
    this.body = h("tbody", {});
    this.add = h("button", { type: "button", onclick: () => {
      const { columns, total } = this.state;
      change("add", {}, `${columns[0]} of example ${total}`);
    } }, "+ add an example");
    this.included = h("span", { class: "tk-faint" });
    this.page = h("span", {});
    this.previous = signButton("previous page", "◀", () => this.turn(-1, "previous page", "next page"));
    this.next = signButton("next page", "▶", () => this.turn(1, "next page", "previous page"));
    this.pages = h("span", { class: "tk-build-pages" }, this.previous, this.page, this.next);
    this.box = h("div", { class: "tk-build-table" },
      h("table", {}, h("thead", {}, this.head), this.body),
      h("div", { class: "tk-bar" }, this.add, this.included, this.pages));
  }

  turn(by, ...labels) {
    this.change("show_page", { page: this.state.page + by }, ...labels);
  }

  draw(state) {
    this.state = state;
    this.drawHead(state);
    const { rows, body } = this;
    while (rows.length > state.examples.length) rows.pop().element.remove();
    while (rows.length < state.examples.length) {
      rows.push(new ExampleRow(state.names, this.change));
      body.append(rows.at(-1).element);
    }
    rows.forEach((row, i) => row.draw(state.examples[i], state));
    this.included.textContent = `${state.included} of ${state.total} included`;
    this.pages.hidden = state.pages === 1;
    this.page.textContent = `page ${state.page + 1} of ${state.pages}`;
    this.previous.disabled = state.page === 0;
    this.next.disabled = state.page === state.pages - 1;
  }

  // Rebuilds the table where its columns have changed.
  drawHead({ names, columns }) {
    if (this.names === names.join("\n")) return;
    this.names = names.join("\n");
    this.head.replaceChildren(h("th", { title: "include" }, "✓"), h("th", {}, "#"), h("th", {}),
      ...columns.map((column) => h("th", {}, column)), h("th", {}));
    this.rows = [];
    this.body.replaceChildren();
  }
}

class ExampleRow {
  constructor(names, change) {
    this.place = 0; // the index of the example
    const onPlace = (command, args = {}, ...labels) => change(command, { place: this.place, ...args }, ...labels);
    const move = (by) => onPlace("move", { by },
      `move example ${this.place + by} ${by < 0 ? "up" : "down"}`, `include example ${this.place + by}`);
    this.include = h("input", { type: "checkbox", onchange: () => onPlace("include", { included: this.include.checked }) });
    this.number = h("td", { class: "tk-number" });
    this.position = h("td", {});
    this.cells = names.map((name) =>
      h("textarea", { rows: 1, onchange: (event) => onPlace("edit", { name, text: event.target.value }) }));
    this.up = signButton("", "↑", () => move(-1));
    this.down = signButton("", "↓", () => move(1));
    this.remove = signButton("", "✕", () =>
      onPlace("remove", {}, `remove example ${Math.min(this.place, this.total - 2)}`));
    this.element = h("tr", {}, h("td", {}, this.include), this.number, this.position,
      this.cells.map((box) => h("td", {}, box)),
      h("td", { class: "tk-build-acts" }, this.up, this.down, this.remove));
  }

  draw({ place, included, position, values }, { columns, total }) {
    Object.assign(this, { place, total });
    this.element.classList.toggle("tk-build-out", !included);
    this.include.checked = included;
    this.include.ariaLabel = `include example ${place}`;
    this.number.textContent = place;
    const title = "its place among the examples that this row is shown";
    this.position.replaceChildren(
      ...(position ? [h("span", { class: "tk-badge tk-build-shown", title }, `shown ${position}`)] : []));
    values.forEach((value, i) => {
      setText(this.cells[i], value.text);
      this.cells[i].ariaLabel = `${columns[i]} of example ${place}`;
      this.cells[i].readOnly = value.cut;
      this.cells[i].title = value.cut ? "too long to be edited here" : "";
    });
    const labels = [[this.up, `move example ${place} up`], [this.down, `move example ${place} down`],
      [this.remove, `remove example ${place}`]];
    for (const [button, label] of labels) button.ariaLabel = button.title = label;
    this.up.disabled = place === 0;
    this.down.disabled = place === total - 1;
  }
}

// How examples are chosen, and the context window.
class ShotSettings {
  constructor(content, change) {
    this.selectors = content.selectors;
    const configure = () => change("configure", this.values());
    const input = (label, hint) => h("input", {
      type: "text", inputMode: "numeric", autocomplete: "off", "aria-label": label, placeholder: hint, onchange: configure });
    this.optionInput = input;
    this.options = new Map(); // of the selector: name → input
    this.optionBox = h("span", { class: "tk-bar tk-build-options" });
    this.selector = select(Object.keys(this.selectors).map((name) => [name, name]), content.shots.selector.name, () => {
      this.drawOptions();
      configure();
    });
    this.k = input("k", "all");
    this.order = input("order_seed", "as chosen");
    const shuffle = signButton("another order", "⟳", () => {
      const seed = this.order.value;
      this.order.value = /^[0-9]+$/.test(seed) ? BigInt(seed) + 1n : 0;
      configure();
    });
    this.window = input("window", "");
    this.reserve = input("reserve", "");
    const strategies = content.strategies.map((name) => [name, name === "refuse" ? "nothing" : name]);
    this.strategy = select(strategies, content.fit.strategy, configure);
    this.drawOptions();
    this.selection = h("div", { class: "tk-bar" }, field("selector", this.selector), this.optionBox,
      field("k", this.k), field("order_seed", this.order), shuffle);
    this.windowNote = h("span", { class: "tk-faint" });
    this.contextWindow = [field("window", this.window, this.windowNote), field("kept for the answer", this.reserve),
      field("may be left out", this.strategy)];
  }

  // The typed texts, as Builder.configure takes them.
  values() {
    const options = Object.fromEntries([...this.options].map(([name, box]) => [name, box.value]));
    return {
      shots: { k: this.k.value, order_seed: this.order.value, selector: { name: this.selector.value, options } },
      fit: { window: this.window.value, reserve: this.reserve.value, strategy: this.strategy.value },
    };
  }

  drawOptions() {
    this.options.clear();
    const defaults = Object.entries(this.selectors[this.selector.value]);
    this.optionBox.replaceChildren(...defaults.map(([name, value]) => {
      const box = this.optionInput(name, name === "by" ? "the answer" : `${value ?? ""}`);
      this.options.set(name, box);
      return field(name, box);
    }));
  }

  draw({ shots, fit, window_note: note }) {
    if (this.selector.value !== shots.selector.name) {
      this.selector.value = shots.selector.name;
      this.drawOptions();
    }
    for (const [name, box] of this.options) setText(box, shots.selector.options[name] ?? "");
    setText(this.k, shots.k);
    setText(this.order, shots.order_seed);
    setText(this.window, fit.window);
    this.windowNote.textContent = note;
    setText(this.reserve, fit.reserve);
    this.strategy.value = fit.strategy;
  }
}

// The row of data for which the prompt is rendered.
function rowPicker(change) {
  let state = null;
  const go = async (row) => {
    await change("show_row", { row });
    box.value = state.row;
  };
  const box = h("input", { type: "text", inputMode: "numeric", "aria-label": "row", onchange: () => go(+box.value || 0) });
  const previous = signButton("previous row", "◀", () => go(state.row - 1));
  const next = signButton("next row", "▶", () => go(state.row + 1));
  const values = h("div", { class: "tk-said tk-faint tk-build-row" });
  const draw = (content) => {
    state = content;
    setText(box, `${state.row}`);
    previous.disabled = state.row === 0;
    next.disabled = state.row === state.rows - 1;
    values.replaceChildren(...state.values.flatMap(([variable, value]) => [h("b", {}, `${variable} `), `${value}  `]));
  };
  return { input: field("row", box), buttons: [previous, next], values, draw };
}

// The rendered prompt, its tokens, and what is left out to fit the context window.
function promptPreview() {
  const tokens = h("div", { class: "tk-build-tokens" }), fits = h("div", { role: "status" });
  const box = h("div", { class: "tk-build-prompt" });
  const draw = (state) => {
    box.replaceChildren(...state.turns.map(([role, parts]) => {
      const isExample = parts.length === 1 && parts[0][1] !== null;
      return h("div", { class: "tk-build-turn", "data-example": `${isExample}` },
        h("small", { class: "tk-faint" }, role),
        parts.map(([text, n]) => n === null ? h("div", { class: "tk-said" }, text) : exampleBox(text, n, role, state)));
    }));
    tokens.replaceChildren(...(state.tokens === null ? [] : tokenCounts(state)));
    fits.textContent = state.fits ? `${state.fitted ? "✓" : "✕"} ${state.fits}` : "";
    fits.className = state.fitted ? "tk-faint" : "tk-error";
  };
  return { tokens, fits, box, draw };
}

// The part of a prompt that comes from its n-th example. The tokens of an example are shown once, with its question.
function exampleBox(text, n, role, { turns, sizes, out }) {
  const size = sizes ? `: ${number(sizes[n + 1])} tokens` : "";
  const label = `example ${n + 1}${size}${n < out ? ", left out" : ""}`;
  const isAnswer = role === "assistant" && turns.length > 1;
  return h("div", { class: `tk-build-example${n < out ? " tk-build-left" : ""}` },
    !isAnswer && h("span", { class: "tk-badge" }, label), h("div", { class: "tk-said" }, text));
}

function tokenCounts({ tokens, sizes, estimate, counter }) {
  const [base, ...examples] = sizes ?? [];
  return [
    h("b", {}, `${estimate ? "about " : ""}${number(tokens)} tokens`),
    ...(examples.length
      ? [h("span", {}, `${number(base)} without examples, then ${examples.map((n) => number(n)).join(" + ")}`)] : []),
    h("span", { class: "tk-faint" }, `${estimate ? "an estimate" : "exact"}: ${counter}`),
  ];
}
