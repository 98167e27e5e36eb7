// The table of outputs, and the detail of one.

const CELL_WIDTH = 220, HEAD_WIDTH = 150; // pixels

const axisLabel = (values) => values.map(([name, value]) => `${name} ${value}`).join(", ") || "all";
const axisValues = (values) => values.map(([name, value]) =>
  h("div", { class: "cmp-axis", tabindex: -1 }, h("span", {}, name), " ", h("bdi", {}, value)));

class OutputTable {
  // reload(): loads the page again, after a change of the query.
  constructor({ query, grades, selection, reload, signal }) {
    Object.assign(this, { query, grades, selection, reload });
    this.id = `cmp-${Math.random().toString(36).slice(2)}`;
    this.table = h("table", { class: "cmp-table", role: "grid", "aria-label": "outputs side by side" });
    this.box = h("div", { class: "cmp-scroll" }, this.table);
    this.steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 };
    this.focus = rovingFocus(this.table, ".cmp-cell", signal, this.steps);
    this.table.addEventListener("focusin", (event) => {
      const cell = event.target.closest(".cmp-cell");
      if (cell) this.setTabStops(cell);
    }, { signal });
  }

  // focus: the cell that is focused afterwards, as "row-column"; default: the one that has the focus now.
  draw(page, focus) {
    const target = focus ? `[data-at="${focus}"]` : this.focusedSelector();
    this.page = page;
    this.steps.ArrowDown = page.columns.length;
    this.steps.ArrowUp = -page.columns.length;
    this.table.style.width = `max(100%, ${HEAD_WIDTH + CELL_WIDTH * page.columns.length}px)`;
    const span = page.columns.length + 1;
    const rows = page.rows.flatMap((row, r) => [
      ...(row.group === null ? []
        : [h("tr", { class: "cmp-group" }, h("th", { colspan: span, scope: "rowgroup" }, row.group))]),
      h("tr", {}, this.rowHead(row), row.cells.map((cell, c) => this.cell(cell, r, c)))]);
    const axes = (page.rows[0]?.axes ?? []).map(([name]) => name).join(", ");
    const head = h("tr", {}, h("th", { class: "cmp-row", scope: "col" }, axes),
      page.columns.map((column) => this.columnHead(column)));
    const nothing = h("tr", {}, h("td", { colspan: span, class: "tk-faint" }, "No row has what is sought."));
    this.table.replaceChildren(h("thead", {}, head), h("tbody", {}, ...(rows.length ? rows : [nothing])));
    this.focus.reset();
    this.setTabStops(this.table.querySelector(".cmp-cell"));
    if (target) (this.table.querySelector(target) ?? this.table.querySelector(".cmp-cell"))?.focus();
  }

  // A selector of the cell or column head that has the focus; null where none has.
  focusedSelector() {
    const element = document.activeElement?.closest(".cmp-cell, .cmp-head");
    if (!this.table.contains(element ?? null)) return null;
    const { at, column } = element.dataset;
    return at ? `[data-at="${at}"]` : `[data-column="${column}"] button`;
  }

  rowHead({ axes, cells }) {
    const outputs = () => cells.flatMap((cell) => cell?.all ?? []);
    return h("th", { scope: "row", class: "cmp-row" },
      this.selection.checkbox(outputs, `select row ${axisLabel(axes)}`), axisValues(axes));
  }

  columnHead({ column, label, outputs, differing, tokens, seconds, cost }) {
    const isBaseline = column === this.query.baseline;
    const facts = !outputs ? ["no outputs in these rows"] : [
      plural(outputs, "output"), isBaseline ? null : `${number(differing)} differ`, `${number(tokens, 1)} tokens`,
      seconds === null ? null : `${number(seconds)} s`, cost === null ? null : `${dollars(cost)} in all`,
    ];
    const baseline = h("button", {
      type: "button", class: "cmp-base", "aria-pressed": String(isBaseline), title: "show what differs from this column",
      onclick: () => { this.query.baseline = column; this.reload(); },
    }, "baseline");
    return h("th", { scope: "col", class: "cmp-head", "data-column": String(column) },
      h("div", { class: "cmp-title" }, h("div", {}, label.length ? axisValues(label) : "all"), baseline),
      h("div", { class: "cmp-told" }, facts.filter(Boolean).join(" · ")));
  }

  cell(output, r, c) {
    const at = `${r}-${c}`, common = { role: "gridcell", "data-at": at, tabindex: -1 };
    if (!output) return h("td", { class: "cmp-cell cmp-none", ...common, "aria-label": "nothing here" }, "–");
    const { i, all, same, missing_axes: missing, metadata, pieces, grade } = output;
    const name = `${axisLabel(this.page.rows[r].axes)}, ${axisLabel(this.page.columns[c].label)}`;
    const id = `${this.id}-${at}`;
    this.grades.set(i, grade);
    // tabindex -1: browsers make every scrollable text a tab stop; the keyboard scrolls it in the detail.
    const dimmed = same && this.query.diff !== "none" ? " cmp-same" : "";
    const text = metadata.error !== null ? h("div", { class: "tk-error", id }, metadata.error)
      : h("div", { class: `tk-said cmp-text${dimmed}`, id, tabindex: -1 }, diffedText(pieces));
    const notes = [
      missing.length ? `without ${missing.join(", ")}` : null,
      same === null ? null : same ? "= as the baseline" : "≠ differs",
      all.length > 1 ? `1 of ${number(all.length)}` : null,
    ].filter(Boolean);
    return h("td", { class: "cmp-cell", ...common, "aria-label": name, "aria-describedby": id, "aria-expanded": "false" },
      h("div", { class: "cmp-tag" }, this.selection.checkbox(() => all, `select ${name}`),
        notes.map((note) => h("span", { class: "tk-faint" }, note))),
      text, metadataFacts(metadata), this.grades.box(i, name, metadata.error !== null));
  }

  // The output in a cell of the table.
  outputOf(cell) {
    const [r, c] = cell.dataset.at.split("-").map(Number);
    return this.page.rows[r]?.cells[c];
  }

  // Only the controls of the current cell are tab stops.
  setTabStops(cell) {
    const set = (selector, isStop) =>
      this.table.querySelectorAll(selector).forEach((control) => (control.tabIndex = isStop(control) ? 0 : -1));
    set(".cmp-cell :is(button, input)", (control) => cell?.contains(control));
    set(".cmp-row .cmp-pick", (control) => cell && control.closest("tr") === cell.closest("tr"));
  }

  focusCell() {
    this.table.querySelector('.cmp-cell[tabindex="0"]')?.focus();
  }
}

// With at least two significant digits.
function dollars(cost) {
  if (cost === null) return "–";
  return `$${cost.toFixed(cost ? Math.max(2, 1 - Math.floor(Math.log10(cost))) : 0)}`;
}

function metadataFacts(metadata) {
  const { verdict, finish_reason: reason, prompt_tokens: prompt, completion_tokens: completion, seconds, cost } = metadata;
  const badge = (kind, sign, text) => h("span", { class: `tk-badge cmp-${kind}` }, `${sign} ${text}`);
  const valid = verdict === "valid";
  return h("div", { class: "cmp-facts" },
    verdict === null ? null : badge(valid ? "good" : "bad", valid ? "✓" : "✗", verdict),
    reason === "stop" ? null : reason === "error" ? badge("bad", "✗", reason)
      : badge("cut", reason === "length" ? "✂" : "→", reason),
    h("span", { title: "prompt + completion tokens" }, `${number(prompt)} + ${number(completion)} tokens`),
    seconds === null ? null : h("span", { title: "seconds" }, `${number(seconds)} s`),
    cost === null ? null : h("span", { title: "US dollars" }, dollars(cost)));
}

function diffedText(pieces) {
  const tags = { insert: "ins", delete: "del", gap: "i", rest: "span", equal: "span" };
  return pieces.map(([op, text, hit]) => h(tags[op], { class: `cmp-${op}` }, hit ? h("mark", {}, text) : text));
}

// One output in full, in a row of its own under the cell's.
class OutputDetail {
  constructor({ outputs, query, request, grades, showError }) {
    Object.assign(this, { outputs, query, request, grades, showError });
    this.opened = null; // { cell, row }
  }

  async toggle(cell) {
    const output = this.outputs.outputOf(cell);
    if (!output) return;
    if (this.opened?.cell === cell) return this.close();
    this.close(false);
    const row = h("tr", { class: "cmp-detail" }, h("td", { colspan: this.outputs.page.columns.length + 1 }));
    this.opened = { cell, row };
    cell.setAttribute("aria-expanded", "true");
    cell.closest("tr").after(row);
    await this.show(output, 0, this.opened);
  }

  // Shows one of the cell's outputs.
  async show(output, place, opened) {
    const { diff, search } = this.query;
    let detail;
    try {
      detail = await this.request("detail", { i: output.all[place], base: output.base, diff, search });
    } catch (error) {
      return this.showError(error);
    }
    if (this.opened !== opened) return;
    this.grades.set(output.all[place], detail.grade);
    const panel = this.panel(output, place, detail, opened);
    opened.row.firstChild.replaceChildren(panel);
    panel.focus({ preventScroll: true });
    this.scrollTo(opened.row);
  }

  // Scrolls the detail into view, its head first. Scrolls only the table: the notebook stays in place.
  scrollTo(row) {
    const { box, table } = this.outputs;
    const below = row.offsetTop + row.offsetHeight - box.scrollTop - box.clientHeight;
    if (below > 0) box.scrollTop = Math.min(box.scrollTop + below, row.offsetTop - table.tHead.offsetHeight);
  }

  panel(output, place, detail, opened) {
    const name = opened.cell.getAttribute("aria-label"), count = output.all.length;
    const { metadata, problem } = detail;
    const step = (by, label, sign) => signButton(label, sign, () => this.show(output, place + by, opened),
      place + by < 0 || place + by >= count);
    const pager = count > 1 && h("span", { class: "cmp-pager" }, step(-1, "output before", "‹"),
      `output ${place + 1} of ${number(count)}`, step(1, "next output", "›"));
    const close = h("button", { type: "button", class: "cmp-close", onclick: () => this.close() }, "close (Esc)");
    const errors = [metadata.error, problem].filter((text) => text !== null);
    return h("div", { class: "cmp-panel", tabindex: -1, role: "region", "aria-label": `detail of ${name}` },
      h("div", { class: "tk-bar" }, h("b", {}, name), pager, close),
      errors.map((text) => h("div", { class: "tk-error" }, text)),
      metadataFacts(metadata),
      h("div", { class: "tk-said cmp-full" }, diffedText(detail.pieces)),
      this.grades.box(output.all[place], name, metadata.error !== null),
      requestParts(detail));
  }

  // focusCell: whether the focus goes back to the cell.
  close(focusCell = true) {
    if (!this.opened) return;
    const { cell, row } = this.opened;
    this.opened = null;
    row.remove();
    cell.setAttribute("aria-expanded", "false");
    if (focusCell) cell.focus();
  }
}

function requestParts({ prompt, settings, facts }) {
  const pairs = (values) => h("dl", {}, values.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const turns = prompt.map(([role, text]) =>
    h("div", { class: "cmp-turn" }, h("b", {}, role), h("div", { class: "tk-said" }, text)));
  const parts = [
    ["asked", turns.length ? turns : "not known"], ["settings", pairs(settings)], ["answered by", pairs(facts)]];
  return h("div", { class: "cmp-parts" }, parts.map(([name, part]) => h("section", {}, h("h4", {}, name), part)));
}
