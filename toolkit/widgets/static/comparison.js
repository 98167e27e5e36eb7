// CompareView: outputs side by side. The kernel searches, sorts and diffs; the frontend renders one page.

export default widget(({ root, content, request, signal }) => {
  const query = initialQuery(content);
  const alert = h("div", { class: "tk-error", role: "alert" });
  const showError = (error) => { alert.textContent = error ? error.message : ""; };
  const requestPage = latest(() => request("page", { ...query }));
  // focus: the cell that is focused afterwards, as "row-column".
  const reload = async (focus) => {
    outputs.table.setAttribute("aria-busy", "true");
    try {
      const page = await requestPage();
      search.showProblem(page.problem ?? "");
      showError(null);
      if (!page.problem) draw(page, focus);
    } catch (error) {
      showError(error);
    }
    outputs.table.removeAttribute("aria-busy");
  };
  const change = async (changes) => {
    Object.assign(query, { start: 0 }, changes);
    await reload();
    outputs.box.scrollTop = 0;
  };
  const draw = (page, focus) => {
    detail.opened = null;
    outputs.draw(page, focus);
    footer.draw();
  };

  const context = { root, content, request, signal, query, showError, reload, change };
  const grades = new Grades({ root, request, gradable: content.gradable });
  const selection = new Selection({ root, request, showError, onchange: () => footer.draw() });
  const outputs = new OutputTable({ query, grades, selection, reload, signal });
  const detail = new OutputDetail({ outputs, query, request, grades, showError });
  const search = searchBox(change, () => outputs.focusCell());
  const filter = new ValueFilter(context);
  const footer = new Footer(context, outputs, selection);
  outputs.slide = (by) => footer.slide(by);

  root.append(
    h("div", { class: "tk-bar" }, axesChooser(context), displayControls(context), tableControls(outputs, content)),
    h("div", { class: "tk-bar" }, search.box, filter.elements, orderControls(context)),
    h("div", { class: "cmp-counts tk-faint" }, footer.counts, diffLegend(content.page), outputs.hiddenColumns.element),
    alert, outputs.box, footer.bar, keyboardHelp());
  listenToTable(outputs, detail, footer, signal);
  listenToRoot(root, detail, search, signal);
  draw(content.page);
  // The content dates from the widget's creation: a later view must ask for the current grades and selection.
  grades.refresh(selection).catch(showError);
});

// The arguments of CompareView.page.
function initialQuery({ rows, columns }) {
  return {
    rows, columns, start: 0, across: 0, baseline: 0, diff: "word",
    search: "", differing: false, where: {}, sort: null, descending: false, group: null,
  };
}

// A select with an accessible name: its label's text includes the options.
function labelledSelect(name, ...args) {
  const box = select(...args);
  box.setAttribute("aria-label", name);
  return field(name, box);
}

const sameLabels = (names) => names.map((name) => [name, name]);

function searchBox(change, focusCell) {
  const id = `cmp-problem-${Math.random().toString(36).slice(2)}`;
  const problem = h("div", { class: "tk-error cmp-problem", role: "alert", id });
  const input = h("input", {
    type: "search", class: "cmp-search", placeholder: "search outputs (regex)",
    "aria-label": "search outputs, a regular expression", "aria-describedby": id,
    oninput: debounce(() => change({ search: input.value }), 180),
    onkeydown: (event) => {
      if (event.key === "Enter" || (event.key === "Escape" && !input.value)) focusCell();
    },
  });
  const showProblem = (text) => {
    problem.textContent = text;
    input.setAttribute("aria-invalid", text ? "true" : "false");
  };
  return { box: h("span", { class: "cmp-find" }, input, problem), input, showProblem };
}

// Which axes are rows, which are columns, and which are only named in the cells.
function axesChooser({ content, query, change }) {
  const box = h("details", { class: "cmp-axes" });
  const places = [["rows", "rows"], ["columns", "columns"], ["", "in the cell"]];
  const placeOf = (name) => (query.rows.includes(name) ? "rows" : query.columns.includes(name) ? "columns" : "");
  const names = (axes) => axes.join(" × ") || "all together";
  const move = (name, place) => {
    for (const kind of ["rows", "columns"]) query[kind] = query[kind].filter((axis) => axis !== name);
    if (place) query[place] = content.axes.filter((axis) => axis === name || query[place].includes(axis));
    draw();
    box.querySelectorAll("select")[content.axes.indexOf(name)].focus();
    change({ across: 0, baseline: 0 });
  };
  const draw = () => box.replaceChildren(
    h("summary", {}, h("b", {}, "rows "), names(query.rows), h("b", {}, " · columns "), names(query.columns)),
    h("div", { class: "cmp-choices" }, content.axes.map((name) =>
      labelledSelect(name, places, placeOf(name), (place) => move(name, place)))));
  draw();
  return box;
}

function displayControls({ query, reload, change }) {
  const diffs = [["word", "words"], ["token", "tokens"], ["none", "off"]];
  const differing = h("input", { type: "checkbox", onchange: () => change({ differing: differing.checked }) });
  return [
    labelledSelect("diff", diffs, "word", (diff) => { query.diff = diff; reload(); }),
    h("label", { class: "tk-field" }, differing, "only differing")];
}

// What the cells have besides their texts.
function tableControls({ table }, { gradable }) {
  const toggle = (label, name, properties = {}) => {
    const button = h("button", {
      type: "button", "aria-pressed": "false", ...properties,
      onclick: () => { button.ariaPressed = String(table.classList.toggle(name)); },
    }, label);
    return button;
  };
  return [
    toggle("tokens and time", "cmp-with-numbers", { title: "show the tokens, seconds and cost of each output" }),
    toggle("grade", "cmp-grading", { disabled: !gradable, title: gradable ? "show the grades' controls in all cells" : NOT_GRADABLE }),
  ];
}

function orderControls({ content, query, change }) {
  const columns = [["", "–"], ...sameLabels([...new Set([...content.axes, ...content.measures])])];
  const direction = h("button", {
    type: "button", title: "reverse the order", "aria-label": "order",
    onclick: () => {
      query.descending = !query.descending;
      showDirection();
      if (query.sort) change({});
    },
  });
  const showDirection = () => { direction.textContent = query.descending ? "↓ descending" : "↑ ascending"; };
  showDirection();
  return [
    h("span", { class: "tk-field" },
      labelledSelect("sort", columns, "", (name) => change({ sort: name || null })), direction),
    labelledSelect("group", columns, "", (name) => change({ group: name || null }))];
}

// Filters by the values of columns: query.where is column → indices of its values. Each is shown as a button that
// removes it.
class ValueFilter {
  constructor({ content, request, query, change, showError }) {
    Object.assign(this, { request, query, change, showError });
    this.labels = {}; // column → the labels of its values
    this.values = h("span", {});
    this.chips = h("span", { class: "cmp-chips" });
    const columns = [["", "filter by …"], ...sameLabels(content.filters)];
    this.column = select(columns, "", (name) => this.chooseColumn(name));
    this.column.setAttribute("aria-label", "filter by");
    this.elements = [this.column, this.values, this.chips];
  }

  async chooseColumn(name) {
    this.values.replaceChildren();
    if (!name) return;
    let result;
    try {
      result = await this.request("filter_values", { name });
    } catch (error) {
      return this.showError(error);
    }
    this.labels[name] = result.values;
    const options = result.values.map((label, i) => [String(i), label]);
    const box = select([["", `${name} is …`], ...options], "", (i) => i !== "" && this.add(name, Number(i)));
    const more = `… ${number(result.more)} more, which are not offered`;
    if (result.more) box.append(h("option", { disabled: true }, more));
    box.setAttribute("aria-label", `value of ${name}`);
    this.values.replaceChildren(box);
    box.focus();
  }

  add(name, i) {
    const { where } = this.query;
    where[name] = [...new Set([...(where[name] ?? []), i])];
    this.column.value = "";
    this.values.replaceChildren();
    this.changed();
  }

  remove(name, i) {
    const { where } = this.query;
    where[name] = where[name].filter((other) => other !== i);
    if (!where[name].length) delete where[name];
    this.changed();
  }

  changed() {
    const filters = Object.entries(this.query.where).flatMap(([name, indices]) => indices.map((i) => [name, i]));
    this.chips.replaceChildren(...filters.map(([name, i]) => {
      const label = `${name} ${this.labels[name][i]}`;
      return h("button", {
        type: "button", class: "cmp-chip", "aria-label": `no longer only ${label}`, onclick: () => this.remove(name, i),
      }, `${label} `, h("span", { "aria-hidden": "true" }, "×"));
    }));
    this.column.focus();
    this.change({ across: 0 });
  }
}

// Counts, pages of rows and columns, and what is done with the selection.
class Footer {
  constructor({ root, content, request, query, showError, reload }, outputs, selection) {
    Object.assign(this, { root, content, request, query, showError, reload, outputs, selection });
    this.counts = h("span", { role: "status" });
    this.rows = h("span");
    this.columns = h("span");
    this.selected = h("span");
    this.pageBefore = signButton("page before", "‹", () => this.turn(-1));
    this.pageAfter = signButton("next page", "›", () => this.turn(1));
    this.columnsBefore = signButton("columns before", "‹", () => this.slide(-1));
    this.columnsAfter = signButton("next columns", "›", () => this.slide(1));
    const button = (onclick, text) => h("button", { type: "button", onclick }, text);
    this.all = button(() => this.attempt(async () => selection.add(await this.matching())));
    this.none = button(() => { selection.clear(); this.all.focus(); }, "select none");
    this.csv = button(() => this.attempt(() => this.download("csv")));
    this.jsonl = button(() => this.attempt(() => this.download("jsonl")));
    this.jsonl.hidden = !content.files.includes("jsonl");
    this.columnPager = h("span", { class: "cmp-pager" }, this.columnsBefore, this.columns, this.columnsAfter);
    this.bar = h("div", { class: "tk-bar cmp-foot" },
      h("span", { class: "cmp-pager" }, this.pageBefore, this.rows, this.pageAfter), this.columnPager,
      this.selected, this.all, this.none, this.csv, this.jsonl);
  }

  async attempt(f) {
    try {
      await f();
    } catch (error) {
      this.showError(error);
    }
  }

  // All outputs that match the query, on any page.
  matching() {
    const { start, across, diff, ...rest } = this.query;
    return this.request("matching_outputs", rest);
  }

  async download(kind) {
    const { outputs } = this.selection;
    const places = outputs.size ? [...outputs] : await this.matching();
    const text = await this.request("export", { kind, places });
    const type = kind === "csv" ? "text/csv" : "application/jsonl";
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = h("a", { href: url, download: `outputs.${kind}` });
    this.root.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  // focus: the cell that is focused on the next page, as "row-column".
  turn(by, focus) {
    const start = this.query.start + by * this.content.size;
    if (start < 0 || start >= this.outputs.page.matching_rows) return;
    this.query.start = start;
    this.outputs.box.scrollTop = 0;
    this.reload(focus);
  }

  slide(by) {
    const across = this.query.across + by * this.content.across;
    if (across < 0 || across >= this.outputs.page.total_columns) return;
    this.query.across = across;
    this.outputs.box.scrollLeft = 0;
    this.reload();
  }

  draw() {
    const { content, query, selection, outputs: { page } } = this;
    const filtered = query.search || query.differing || Object.keys(query.where).length;
    const rows = plural(page.total_rows, "row");
    const count = page.matching_rows === page.total_rows ? rows : `${number(page.matching_rows)} of ${rows}`;
    const outputs = plural(page.outputs, "output");
    const matching = filtered ? ` ${page.outputs === 1 ? "matches" : "match"}` : "";
    this.counts.textContent = `${count}, ${outputs}${matching} · differences from ${page.baseline}`;
    this.rows.textContent = `rows ${rangeText(page.start, content.size, page.matching_rows)}`;
    this.columns.textContent = `columns ${rangeText(query.across, content.across, page.total_columns)}`;
    this.columnPager.hidden = page.total_columns <= content.across;
    this.pageBefore.disabled = !query.start;
    this.pageAfter.disabled = query.start + content.size >= page.matching_rows;
    this.columnsBefore.disabled = !query.across;
    this.columnsAfter.disabled = query.across + content.across >= page.total_columns;
    const selected = selection.outputs.size;
    this.selected.textContent = selected ? `${number(selected)} selected` : "nothing selected";
    const all = `all ${outputs}${filtered ? " that match" : ""}`;
    this.all.textContent = `select ${all}`;
    this.none.disabled = !selected;
    this.csv.textContent = `CSV of ${selected ? "the selected" : all}`;
    this.jsonl.textContent = `JSONL of ${selected ? "the selected" : all}`;
  }
}

function rangeText(start, size, total) {
  return total ? `${number(start + 1)}–${number(Math.min(start + size, total))} of ${number(total)}` : "0";
}

// Mouse and keyboard in the table.
function listenToTable({ table }, detail, footer, signal) {
  table.addEventListener("click", (event) => {
    const cell = event.target.closest(".cmp-cell");
    if (cell && !event.target.closest("button, input, .cmp-grade") && !String(getSelection())) detail.toggle(cell);
  }, { signal });
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".cmp-cell");
    if (!event.target.matches(".cmp-cell, .cmp-text") || event.ctrlKey || event.metaKey || event.altKey) return;
    const click = (selector) => () => cell.querySelector(selector)?.click();
    const focus = (selector) => () => cell.querySelector(selector)?.focus();
    const action = {
      Enter: () => detail.toggle(cell), u: click(".cmp-thumb"), d: click(".cmp-thumb + .cmp-thumb"), x: click(".cmp-pick"),
      s: focus(".cmp-score"), n: focus(".cmp-note"),
      PageDown: () => footer.turn(1, "0-0"), PageUp: () => footer.turn(-1, "0-0"),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }, { signal });
}

function listenToRoot(root, detail, search, signal) {
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && detail.opened) {
      event.preventDefault();
      detail.close();
    }
    if (event.key === "/" && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      search.input.focus();
    }
  }, { signal });
}

function diffLegend({ target }) {
  return h("span", {}, h("ins", { class: "cmp-insert" }, "only here"), " ",
    h("del", { class: "cmp-delete" }, "only in the baseline"), target && ` · ✓ right, ✗ wrong, ? unclear: by ${target}`);
}

function keyboardHelp() {
  const keys = [
    ["move", "←↑↓→"], ["detail", "Enter"], ["thumbs", "u", "d"], ["score", "s"], ["note", "n"], ["select", "x"],
    ["search", "/"], ["pages", "PgUp", "PgDn"],
  ];
  return h("div", { class: "cmp-help tk-faint" },
    keys.flatMap(([action, ...names]) => [...names.map((name) => h("kbd", {}, name)), ` ${action} `]));
}
