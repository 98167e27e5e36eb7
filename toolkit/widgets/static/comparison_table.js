// The table of outputs, and the detail of one.

const axisLabel = (values) => values.map(([name, value]) => `${name} ${value}`).join(", ") || "all";
const axisValues = (values) => values.map(([name, value]) =>
  h("div", { class: "cmp-axis", tabindex: -1 }, h("span", {}, name), " ", h("bdi", {}, value)));
const isItem = (name) => name === "row" || name.startsWith("row.");
// The widths in pixels that columns of short, middling and long texts need.
const textWidth = (length, [short, middling, long]) => (length <= 16 ? short : length <= 60 ? middling : long);
const ANSWERS = { right: ["✓", "good"], wrong: ["✗", "wrong"], unclear: ["?", "unclear"], valid: ["✓", "good"], invalid: ["✗", "bad"] };

class OutputTable {
  // reload(): loads the page again, after a change of the query.
  constructor({ query, grades, selection, reload, signal }) {
    Object.assign(this, { query, grades, selection, reload });
    this.id = `cmp-${Math.random().toString(36).slice(2)}`;
    this.table = h("table", { class: "cmp-table", role: "grid", "aria-label": "outputs side by side" });
    this.box = h("div", { class: "cmp-scroll" }, this.table);
    this.hiddenColumns = new HiddenColumns(this, signal);
    this.slide = null; // slide(by): turns to other columns
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
    this.setWidths(page);
    const span = page.columns.length + 1;
    const rows = page.rows.flatMap((row, r) => [
      ...(row.group === null ? []
        : [h("tr", { class: "cmp-group" }, h("th", { colspan: span, scope: "rowgroup" }, row.group))]),
      h("tr", {}, this.rowHead(row, page.rows[r - 1]), row.cells.map((cell, c) => this.cell(cell, r, c)))]);
    const head = h("tr", {}, h("th", { class: "cmp-row", scope: "col" }, page.row_axes.join(" · ")),
      page.columns.map((column) => this.columnHead(column)));
    const nothing = h("tr", {}, h("td", { colspan: span, class: "tk-faint" }, "No output matches."));
    this.table.replaceChildren(h("thead", {}, head), h("tbody", {}, ...(rows.length ? rows : [nothing])));
    this.focus.reset();
    this.setTabStops(this.table.querySelector(".cmp-cell"));
    if (target) (this.table.querySelector(target) ?? this.table.querySelector(".cmp-cell"))?.focus();
    this.hiddenColumns.draw();
  }

  // Columns are as narrow as their texts allow.
  setWidths({ rows, columns, row_axes: axes }) {
    const longest = (texts) => Math.max(0, ...texts.map((text) => text.length));
    const outputs = longest(rows.flatMap((row) => row.cells.map((cell) =>
      cell ? cell.metadata.error ?? cell.pieces.map(([, text]) => text).join("") : "")));
    const labels = longest(rows.flatMap((row) => row.axes.filter(([name]) => axes.includes(name)).map(([, text]) => text)));
    const head = textWidth(labels, [120, 190, 230]), cell = textWidth(outputs, [118, 160, 200]);
    this.table.style.setProperty("--head", `max(${head}px, ${labels > 16 ? 24 : 0}cqw)`);
    this.table.style.width = `max(100%, ${head + cell * columns.length}px)`;
  }

  // A selector of the cell or column head that has the focus; null where none has.
  focusedSelector() {
    const element = document.activeElement?.closest(".cmp-cell, .cmp-head");
    if (!this.table.contains(element ?? null)) return null;
    const { at, column } = element.dataset;
    return at ? `[data-at="${at}"]` : `[data-column="${column}"] button`;
  }

  // The item once, not again in the next row, and of the other axes those that differ between rows.
  rowHead({ axes, cells }, above) {
    const { row_axes: varying, target } = this.page;
    const outputs = () => cells.flatMap((cell) => cell?.all ?? []);
    const pairs = axes.filter(([name]) => varying.includes(name));
    const items = pairs.filter(([name]) => isItem(name));
    const itemOf = (row) => JSON.stringify(row.axes.filter(([name]) => isItem(name)));
    const isAgain = above && itemOf(above) === itemOf({ axes }) && items.length < pairs.length;
    const several = items.filter(([name]) => name !== target).length > 1;
    const item = items.flatMap(([name, value]) => [" ", h(several ? "div" : "span", { class: name === target && "cmp-target" },
      (several || name === target || name === "row") && h("span", {}, `${name.replace("row.", "")} `), h("bdi", {}, value))]);
    return h("th", { scope: "row", class: "cmp-row" },
      this.selection.checkbox(outputs, `select row ${axisLabel(axes)}`),
      h("div", { class: `cmp-item${isAgain ? " cmp-unseen" : ""}`, tabindex: -1 }, item), axisValues(pairs.filter(([name]) => !isItem(name))));
  }

  columnHead({ column, label, tally, outputs, differing, tokens, seconds, cost }) {
    const isBaseline = column === this.query.baseline;
    const facts = !outputs ? ["no outputs in these rows"] : [
      plural(outputs, "output"), isBaseline ? null : `${number(differing)} differ`, `${number(tokens, 1)} tokens`,
      seconds === null ? null : `${number(seconds)} s`, cost === null ? null : `${dollars(cost)} in all`,
    ];
    const baseline = h("button", {
      type: "button", class: "cmp-base", "aria-pressed": String(isBaseline), title: "show what differs from this column",
      onclick: () => { this.query.baseline = column; this.reload(); },
    }, "baseline");
    const answers = Object.entries(tally).map(([kind, text]) => h("span", { class: `cmp-${ANSWERS[kind][1]}` },
      h("span", { "aria-hidden": "true" }, `${ANSWERS[kind][0]} `), text));
    return h("th", { scope: "col", class: "cmp-head", "data-column": String(column) },
      h("div", { class: "cmp-title" }, h("div", {}, label.length ? axisValues(label) : "all"), baseline),
      answers.length ? h("div", { class: "cmp-tally" }, answers) : null,
      h("div", { class: "cmp-told" }, facts.filter(Boolean).join(" · ")));
  }

  cell(output, r, c) {
    const at = `${r}-${c}`, common = { role: "gridcell", "data-at": at, tabindex: -1 };
    if (!output) return h("td", { class: "cmp-cell cmp-none", ...common, "aria-label": "nothing here" }, "–");
    const { i, all, metadata, pieces, grade } = output;
    const name = `${axisLabel(this.page.rows[r].axes)}, ${axisLabel(this.page.columns[c].label)}`;
    const id = `${this.id}-${at}`;
    this.grades.set(i, grade);
    // tabindex -1: browsers make every scrollable text a tab stop; the keyboard scrolls it in the detail.
    const dimmed = output.same && this.query.diff !== "none" ? " cmp-same" : "";
    const text = metadata.error !== null ? h("div", { class: "tk-error", id }, metadata.error)
      : h("div", { class: `tk-said cmp-text${dimmed}`, id, tabindex: -1 }, diffedText(withoutReplaced(pieces)));
    const failed = metadata.error !== null;
    return h("td", {
      class: "cmp-cell", ...common, "aria-label": name, "aria-describedby": `${id} ${id}-notes`, "aria-expanded": "false" },
      this.selection.checkbox(() => all, `select ${name}`),
      h("div", { class: "cmp-body" }, answerMark(output), text, this.notes(output, `${id}-notes`)),
      this.grades.box(i, name, failed));
  }

  // What is to be said of an output, in a line.
  notes({ i, all, same, missing_axes: missing, metadata, right }, id) {
    const notes = [
      missing.length ? `without ${missing.join(", ")}` : null,
      same === null ? null : same ? "= as the baseline" : "≠ differs",
      all.length > 1 ? `1 of ${number(all.length)}` : null,
    ].filter(Boolean);
    return h("div", { class: "cmp-facts", id }, statusBadges(metadata, right === undefined),
      notes.map((note) => h("span", {}, note)), metadataNumbers(metadata), this.grades.mark(i));
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

// With at least two significant digits, and above $100 without cents.
function dollars(cost) {
  if (cost === null) return "–";
  if (cost >= 100) return `$${Math.round(cost).toLocaleString("en")}`;
  return `$${cost.toFixed(cost ? Math.max(2, 1 - Math.floor(Math.log10(cost))) : 0)}`;
}

// Whether the output is the right answer, where one is known.
function answerMark({ right, answer }) {
  if (right === undefined) return null;
  const [sign, kind] = ANSWERS[right ? "right" : right === null ? "unclear" : "wrong"];
  return h("span", { class: `cmp-mark cmp-${kind}`, role: "img", "aria-label": answer, title: answer }, sign);
}

const badge = (kind, sign, text) => h("span", { class: `tk-badge cmp-${kind}` }, `${sign} ${text}`);

// showValid: whether a valid output is worth a badge.
function statusBadges({ verdict, finish_reason: reason }, showValid = true) {
  return [
    verdict === "valid" ? showValid && badge("good", "✓", verdict) : verdict !== null && badge("bad", "✗", verdict),
    reason !== "stop" && (reason === "error" ? badge("bad", "✗", reason)
      : badge("cut", reason === "length" ? "✂" : "→", reason))];
}

function metadataNumbers({ prompt_tokens: prompt, completion_tokens: completion, seconds, cost }) {
  return h("span", { class: "cmp-numbers" },
    h("span", { title: "prompt + completion tokens" }, `${number(prompt)} + ${number(completion)} tokens`),
    seconds === null ? null : h("span", { title: "seconds" }, `${number(seconds)} s`),
    cost === null ? null : h("span", { title: "US dollars" }, dollars(cost)));
}

// The pieces of a cell. Where it has no word in common with the baseline, the latter's text is left out.
function withoutReplaced(pieces) {
  const isAlike = pieces.some(([op, text]) => op === "equal" && text.trim());
  return isAlike || !pieces.some(([op]) => op === "insert") ? pieces : pieces.filter(([op]) => op !== "delete");
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
      h("div", { class: "cmp-facts" }, output.right !== undefined && place === 0 && output.answer,
        statusBadges(metadata), metadataNumbers(metadata)),
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
    ["prompt", turns.length ? turns : "not known"], ["settings", pairs(settings)], ["answered by", pairs(facts)]];
  return h("div", { class: "cmp-parts" }, parts.map(([name, part]) => h("section", {}, h("h4", {}, name), part)));
}

// Says how many columns a narrow page hides, and scrolls to them.
class HiddenColumns {
  constructor(outputs, signal) {
    this.outputs = outputs;
    const button = (by) => h("button", { type: "button", class: "cmp-hidden", hidden: true, onclick: () => this.scroll(by) });
    this.left = button(-1);
    this.right = button(1);
    this.element = h("span", { class: "cmp-hidden-columns" }, this.left, this.right);
    const observer = new ResizeObserver(() => this.draw());
    observer.observe(outputs.box);
    signal.addEventListener("abort", () => observer.disconnect());
    outputs.box.addEventListener("scroll", () => this.draw(), { signal });
  }

  // The column heads that cannot be seen whole, on the left and on the right.
  hidden() {
    const { box, table } = this.outputs, slack = 8; // pixels
    const frame = box.getBoundingClientRect(), start = table.querySelector(".cmp-row")?.getBoundingClientRect().right;
    const heads = [...table.querySelectorAll(".cmp-head")].map((head) => head.getBoundingClientRect());
    return {
      left: heads.filter(({ left }) => left < start - slack),
      right: heads.filter(({ right }) => right > frame.right + slack),
      start,
    };
  }

  // Also those on other pages of columns.
  draw() {
    const { left, right } = this.hidden(), { page, query } = this.outputs;
    const before = query.across, after = page.total_columns - query.across - page.columns.length;
    const show = (button, count, text) => {
      button.hidden = !count;
      if (count) button.textContent = text(`${number(count)} more column${count === 1 ? "" : "s"}`);
    };
    show(this.left, left.length + before, (columns) => `← ${columns}`);
    show(this.right, right.length + after, (columns) => `${columns} →`);
    this.outputs.box.classList.toggle("cmp-more-right", right.length > 0);
  }

  scroll(by) {
    const { left, right, start } = this.hidden();
    if (!(by > 0 ? right : left).length) return this.outputs.slide(by);
    const to = by > 0 ? right[0].left - start : left.at(-1).left - start;
    this.outputs.box.scrollBy({ left: to });
  }
}
