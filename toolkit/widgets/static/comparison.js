// CompareView: outputs side by side. The kernel searches, sorts and diffs; the frontend renders one page.

export default widget(async ({ root, content, ask, signal }) => {
  const state = {
    rows: content.rows, columns: content.columns, start: 0, across: 0, baseline: 0, diff: "word",
    search: "", differing: false, where: {}, sort: null, descending: false, group: null,
  };
  const selected = new Set();
  let page = content.page, opened = null;

  // Search results

  const alert = h("div", { class: "tk-error", role: "alert" });
  const counts = h("span", { role: "status" });
  const table = h("table", { class: "cmp-table", role: "grid", "aria-label": "outputs side by side" });
  const scroll = h("div", { class: "cmp-scroll" }, table);

  const tell = (error) => { alert.textContent = error ? error.message : ""; };
  const answer = latest((given) => ask("page", given));
  const load = async (focus) => {
    table.setAttribute("aria-busy", "true");
    try {
      const got = await answer({ ...state });
      problem.textContent = got.problem ?? "";
      search.setAttribute("aria-invalid", got.problem ? "true" : "false");
      tell(null);
      if (!got.problem) { page = got; draw(focus); }
    } catch (error) { tell(error); }
    table.removeAttribute("aria-busy");
  };
  const from = async (changes) => {
    Object.assign(state, { start: 0 }, changes);
    await load();
    scroll.scrollTop = 0;
  };

  // Controls

  const search = h("input", {
    type: "search", class: "cmp-search", placeholder: "search outputs (regex)", "aria-label": "search outputs, a regular expression",
    "aria-describedby": "cmp-problem", oninput: settled(() => from({ search: search.value }), 180),
    onkeydown: (e) => { if (e.key === "Escape" && !search.value) focusCell(); if (e.key === "Enter") focusCell(); },
  });
  const problem = h("div", { class: "tk-error cmp-problem", role: "alert" });
  const differing = h("input", { type: "checkbox", onchange: () => from({ differing: differing.checked }) });
  const none = [["", "–"]];
  // A label's text includes the options: the accessible name is set separately.
  const chooser = (name, ...given) => {
    const box = select(...given);
    box.setAttribute("aria-label", name);
    return field(name, box);
  };
  const names = (list) => list.map((name) => [name, name]);
  const sorts = names([...new Set([...content.axes, ...content.measures])]);
  const order = h("button", {
    type: "button", title: "turn the order round", "aria-label": "order",
    onclick: () => { state.descending = !state.descending; arrow(); if (state.sort) from({}); },
  });
  const arrow = () => { order.textContent = state.descending ? "↓ falling" : "↑ rising"; };
  arrow();

  const axes = h("details", { class: "cmp-axes" });
  const places = [["rows", "rows"], ["columns", "columns"], ["", "in the cell"]];
  const place = (name) => (state.rows.includes(name) ? "rows" : state.columns.includes(name) ? "columns" : "");
  const drawAxes = () => {
    const said = (list) => list.join(" × ") || "all together";
    axes.replaceChildren(
      h("summary", {}, h("b", {}, "rows "), said(state.rows), h("b", {}, " · columns "), said(state.columns)),
      h("div", { class: "cmp-choices" }, content.axes.map((name) => chooser(name, places, place(name), (to) => {
        for (const kind of ["rows", "columns"]) state[kind] = state[kind].filter((one) => one !== name);
        if (to) state[to] = content.axes.filter((one) => one === name || state[to].includes(one));
        drawAxes();
        axes.querySelectorAll("select")[content.axes.indexOf(name)].focus();
        from({ across: 0, baseline: 0 });
      }))));
  };
  drawAxes();

  const chips = h("span", { class: "cmp-chips" });
  const values = h("span", {});
  const labels = {};
  const filter = select([["", "filter by …"], ...names(content.filters)], "", async (name) => {
    values.replaceChildren();
    if (!name) return;
    let known;
    try { known = await ask("values", { name }); } catch (error) { return tell(error); }
    labels[name] = known.values;
    const choices = known.values.map((label, i) => [String(i), label]);
    const box = select([["", `${name} is …`], ...choices], "", (i) => {
      if (i === "") return;
      state.where[name] = [...new Set([...(state.where[name] ?? []), Number(i)])];
      filter.value = "";
      values.replaceChildren();
      drawChips();
      filter.focus();
      from({ across: 0 });
    });
    if (known.more) box.append(h("option", { disabled: true }, `… ${number(known.more)} more, which are not offered`));
    box.setAttribute("aria-label", `value of ${name}`);
    values.replaceChildren(box);
    box.focus();
  });
  filter.setAttribute("aria-label", "filter by");
  const drawChips = () => chips.replaceChildren(...Object.entries(state.where).flatMap(([name, list]) => list.map((i) =>
    h("button", { type: "button", class: "cmp-chip", "aria-label": `no longer only ${name} ${labels[name][i]}`, onclick: () => {
      state.where[name] = list.filter((one) => one !== i);
      if (!state.where[name].length) delete state.where[name];
      drawChips();
      filter.focus();
      from({ across: 0 });
    } }, `${name} ${labels[name][i]} `, h("span", { "aria-hidden": "true" }, "×")))));

  // The table

  const many = (n, what) => `${number(n)} ${what}${n === 1 ? "" : "s"}`;
  const mine = `cmp-${Math.random().toString(36).slice(2)}`;
  const cellOf = (row, column) => page.rows[row]?.cells[column];
  const keyed = (list) => list.map(([name, value]) => h("div", { class: "cmp-axis", tabindex: -1 }, h("span", {}, name), " ", h("bdi", {}, value)));
  const label = (list) => list.map(([name, value]) => `${name} ${value}`).join(", ") || "all";
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 };
  const grid = roving(table, ".cmp-cell", signal, steps);

  function draw(focus) {
    const held = document.activeElement?.closest(".cmp-cell, .cmp-head");
    const again = !table.contains(held) ? null : held.dataset.at ? `[data-at="${held.dataset.at}"]` : `[data-column="${held.dataset.column}"] button`;
    opened = null;
    steps.ArrowDown = page.columns.length;
    steps.ArrowUp = -page.columns.length;
    const width = page.columns.length + 1;
    table.style.width = `max(100%, ${150 + 220 * page.columns.length}px)`;
    const lines = page.rows.flatMap((row, r) => [
      row.group === null ? null : h("tr", { class: "cmp-group" }, h("th", { colspan: width, scope: "rowgroup" }, row.group)),
      h("tr", {},
        h("th", { scope: "row", class: "cmp-row" }, pick(() => row.cells.flatMap((cell) => cell?.all ?? []), `select row ${label(row.axes)}`), keyed(row.axes)),
        row.cells.map((_, c) => drawCell(r, c))),
    ]);
    const head = h("tr", {}, h("th", { class: "cmp-row", scope: "col" }, (page.rows[0]?.axes ?? []).map(([name]) => name).join(", ")), page.columns.map(drawHead));
    const nothing = h("tr", {}, h("td", { colspan: width, class: "tk-faint" }, "No row has what is sought."));
    table.replaceChildren(h("thead", {}, head), h("tbody", {}, ...(lines.length ? lines.filter(Boolean) : [nothing])));
    grid.reset();
    reach(table.querySelector(".cmp-cell"));
    drawFoot();
    const next = focus ? `[data-at="${focus}"]` : again;
    if (next) (table.querySelector(next) ?? table.querySelector(".cmp-cell"))?.focus();
  }

  function drawHead(column) {
    const base = column.column === state.baseline;
    const told = !column.outputs ? ["no outputs in these rows"] : [
      many(column.outputs, "output"), base ? null : `${number(column.differing)} differ`, `${number(column.tokens, 1)} tokens`,
      column.seconds === null ? null : `${number(column.seconds)} s`, column.cost === null ? null : money(column.cost) + " in all",
    ];
    return h("th", { scope: "col", class: "cmp-head", "data-column": String(column.column) },
      h("div", { class: "cmp-title" }, h("div", {}, column.label.length ? keyed(column.label) : "all"), h("button", {
        type: "button", class: "cmp-base", "aria-pressed": String(base), title: "show what differs from this column",
        onclick: () => { state.baseline = column.column; load(); },
      }, "baseline")),
      h("div", { class: "cmp-told" }, told.filter(Boolean).join(" · ")));
  }

  function drawCell(r, c) {
    const cell = cellOf(r, c);
    const at = `${r}-${c}`;
    if (!cell) return h("td", { class: "cmp-cell cmp-none", role: "gridcell", "data-at": at, tabindex: -1, "aria-label": "nothing here" }, "–");
    const name = `${label(page.rows[r].axes)}, ${label(page.columns[c].label)}`;
    const told = cell.told;
    grades.set(cell.i, cell.grade);
    const id = `${mine}-${at}`;
    // tabindex -1: browsers make every scrollable text a tab stop; the keyboard scrolls it in the detail.
    const said = told.error !== null ? h("div", { class: "tk-error", id }, told.error)
      : h("div", { class: "tk-said cmp-text" + (cell.same && state.diff !== "none" ? " cmp-same" : ""), id, tabindex: -1 }, pieces(cell.pieces));
    return h("td", { class: "cmp-cell", role: "gridcell", "data-at": at, tabindex: -1, "aria-label": name, "aria-describedby": id, "aria-expanded": "false" },
      h("div", { class: "cmp-tag" },
        pick(() => cell.all, `select ${name}`),
        cell.without.length ? h("span", { class: "tk-faint" }, `without ${cell.without.join(", ")}`) : null,
        cell.same === null ? null : h("span", { class: "tk-faint" }, cell.same ? "= as the baseline" : "≠ differs"),
        cell.all.length > 1 ? h("span", { class: "tk-faint" }, `1 of ${number(cell.all.length)}`) : null),
      said, facts(told), gradeBox(cell.i, name, told.error !== null));
  }

  // At least two significant digits.
  const money = (dollars) => (dollars === null ? "–" : `$${dollars.toFixed(dollars ? Math.max(2, 1 - Math.floor(Math.log10(dollars))) : 0)}`);
  const badge = (kind, sign, text) => h("span", { class: `tk-badge cmp-${kind}` }, `${sign} ${text}`);
  function facts(told) {
    const reason = told.finish_reason;
    return h("div", { class: "cmp-facts" },
      told.verdict === null ? null : badge(told.verdict === "valid" ? "good" : "bad", told.verdict === "valid" ? "✓" : "✗", told.verdict),
      reason === "stop" ? null : badge(reason === "error" ? "bad" : "cut", reason === "length" ? "✂" : reason === "error" ? "✗" : "→", reason),
      h("span", { title: "prompt + completion tokens" }, `${number(told.prompt_tokens)} + ${number(told.completion_tokens)} tokens`),
      told.seconds === null ? null : h("span", { title: "seconds" }, `${number(told.seconds)} s`),
      told.cost === null ? null : h("span", { title: "US dollars" }, money(told.cost)));
  }

  function pieces(list) {
    const tags = { insert: "ins", delete: "del", gap: "i", rest: "span", equal: "span" };
    return list.map(([op, text, hit]) => h(tags[op], { class: `cmp-${op}` }, hit ? h("mark", {}, text) : text));
  }

  // Grades: shown at once (optimistic), reverted if they cannot be saved

  const THUMB = "M1 7h3v7H1zM5 7.4 8.2 1c1.2 0 2 .9 1.8 2.1L9.5 6h3.6c1 0 1.7.9 1.5 1.8l-1.1 4.9c-.2.8-.9 1.3-1.7 1.3H5z";
  const thumb = (up) => svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" },
    svg("path", { d: THUMB, fill: "currentColor", transform: up ? null : "rotate(180 8 8)" }));
  const grades = new Map(); // by the output's row of the results table
  const NONE = { thumb: null, score: null, note: "" };

  function gradeBox(i, name, failed) {
    const done = (e) => {
      if (e.key === "Escape" || (e.key === "Enter" && e.target.tagName === "INPUT")) box.closest(".cmp-cell, .cmp-panel").focus();
      e.stopPropagation();
    };
    const own = { disabled: !content.gradable || failed, onkeydown: done };
    const now = () => grades.get(i) ?? NONE;
    const button = (value, text) => h("button", {
      ...own, type: "button", class: "cmp-thumb", "aria-label": text, title: text,
      onclick: () => save(i, { thumb: now().thumb === value ? null : value }),
    }, thumb(value === 1));
    const input = (given, read) => {
      const one = h("input", { ...own, ...given, onchange: () => one.validity.badInput || save(i, read(one.value)) });
      return one;
    };
    const up = button(1, "thumb up"), down = button(-1, "thumb down");
    const score = input({ type: "number", step: "any", class: "cmp-score", placeholder: "score", "aria-label": "score" },
      (text) => ({ score: text === "" ? null : Number(text) }));
    const note = input({ type: "text", class: "cmp-note", placeholder: "note", "aria-label": "note" }, (text) => ({ note: text }));
    const wrong = h("div", { class: "tk-error", role: "alert" });
    const box = h("div", {
      class: "cmp-grade", role: "group", "aria-label": `grade of ${name}`, "data-i": String(i),
      title: content.gradable ? null : "Grades are kept in a store's file: these results were read from another one.",
    }, up, down, score, note, wrong);
    box.sync = (error) => {
      up.setAttribute("aria-pressed", String(now().thumb === 1));
      down.setAttribute("aria-pressed", String(now().thumb === -1));
      // Inputs that are being edited keep their text.
      const given = [[score, now().score === null ? "" : String(now().score)], [note, now().note]];
      for (const [one, value] of given) if (one !== document.activeElement) one.value = value;
      wrong.textContent = error ? `not saved: ${error.message}` : "";
    };
    box.sync();
    return box;
  }

  async function save(i, given) {
    const before = grades.get(i) ?? null;
    grades.set(i, { ...NONE, ...before, ...given });
    regrade(i);
    try {
      grades.set(i, await ask("grade", { i, ...given }));
      regrade(i);
    } catch (error) {
      grades.set(i, before);
      regrade(i, error);
    }
  }

  // An output may be in the table more than once, and in the detail.
  const regrade = (i, error) => root.querySelectorAll(`.cmp-grade[data-i="${i}"]`).forEach((box) => box.sync(error));

  // Selection and download

  function pick(all, name) {
    const box = h("input", {
      type: "checkbox", class: "cmp-pick", "aria-label": name, tabindex: -1,
      onchange: () => { all().forEach((i) => (box.checked ? selected.add(i) : selected.delete(i))); picked(); },
    });
    box.sync = () => {
      const list = all(), inside = list.filter((i) => selected.has(i)).length;
      box.checked = list.length > 0 && inside === list.length;
      box.indeterminate = inside > 0 && inside < list.length;
    };
    box.sync();
    return box;
  }

  const keep = settled(() => ask("select", { places: [...selected] }).catch(tell), 60);
  function picked() {
    table.querySelectorAll(".cmp-pick").forEach((box) => box.sync());
    drawFoot();
    keep();
  }

  const query = () => {
    const { start, across, diff, ...rest } = state;
    return rest;
  };
  async function everything() {
    try { (await ask("found", query())).forEach((i) => selected.add(i)); picked(); } catch (error) { tell(error); }
  }
  async function take(kind) {
    try {
      const taken = selected.size ? [...selected] : await ask("found", query());
      const text = await ask("export", { kind, places: taken });
      const url = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/jsonl" }));
      const link = h("a", { href: url, download: `outputs.${kind}` });
      root.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) { tell(error); }
  }

  const step = (text, name, go) => h("button", { type: "button", "aria-label": name, title: name, onclick: go }, text);
  const earlier = step("‹", "page before", () => turn(-1)), later = step("›", "next page", () => turn(1));
  const left = step("‹", "columns before", () => slide(-1)), right = step("›", "next columns", () => slide(1));
  const turn = (by, focus) => {
    const to = state.start + by * content.size;
    if (to >= 0 && to < page.found) { state.start = to; scroll.scrollTop = 0; load(focus); }
  };
  const slide = (by) => {
    const to = state.across + by * content.across;
    if (to >= 0 && to < page.columns_in_all) { state.across = to; scroll.scrollLeft = 0; load(); }
  };
  const rowsSaid = h("span"), columnsSaid = h("span"), selectedSaid = h("span"), csv = h("button", { type: "button", onclick: () => take("csv") });
  const jsonl = h("button", { type: "button", hidden: !content.files.includes("jsonl"), onclick: () => take("jsonl") });
  const all = h("button", { type: "button", onclick: everything });
  const clear = h("button", { type: "button", onclick: () => { selected.clear(); picked(); all.focus(); } }, "select none");
  const columnBar = h("span", { class: "cmp-pager" }, left, columnsSaid, right);

  const sought = () => state.search || state.differing || Object.keys(state.where).length;
  function drawFoot() {
    const upto = (start, size, whole) => (whole ? `${number(start + 1)}–${number(Math.min(start + size, whole))} of ${number(whole)}` : "0");
    counts.textContent = page.found === page.rows_in_all ? many(page.found, "row") : `${number(page.found)} of ${many(page.rows_in_all, "row")}`;
    counts.textContent += `, ${many(page.outputs, "output")}${sought() ? " that are sought" : ""} · differences from ${label(page.baseline)}`;
    rowsSaid.textContent = `rows ${upto(page.start, content.size, page.found)}`;
    columnsSaid.textContent = `columns ${upto(state.across, content.across, page.columns_in_all)}`;
    columnBar.hidden = page.columns_in_all <= content.across;
    earlier.disabled = !state.start;
    later.disabled = state.start + content.size >= page.found;
    left.disabled = !state.across;
    right.disabled = state.across + content.across >= page.columns_in_all;
    selectedSaid.textContent = selected.size ? `${number(selected.size)} selected` : "nothing selected";
    all.textContent = `select all ${number(page.outputs)} found`;
    clear.disabled = !selected.size;
    for (const [button, kind] of [[csv, "CSV"], [jsonl, "JSONL"]]) button.textContent = `${kind} of ${selected.size ? "selected" : "found"}`;
  }

  // One output in full

  async function open(cell) {
    const given = cellOf(...cell.dataset.at.split("-").map(Number));
    if (!given) return;
    if (opened?.cell === cell) return close();
    close(false);
    const box = h("td", { colspan: page.columns.length + 1 });
    const line = h("tr", { class: "cmp-detail" }, box);
    const mine = { cell, line };
    opened = mine;
    cell.setAttribute("aria-expanded", "true");
    cell.closest("tr").after(line);
    const show = async (at) => {
      let told;
      try {
        told = await ask("detail", { i: given.all[at], base: given.base, diff: state.diff, search: state.search });
      } catch (error) { return tell(error); }
      if (opened !== mine) return;
      grades.set(given.all[at], told.grade);
      const panel = drawDetail(cell, given, at, told, show);
      box.replaceChildren(panel);
      panel.focus({ preventScroll: true });
      // Scrolls the detail into view, its head first. Scrolls only the table: the notebook stays in place.
      const below = line.offsetTop + line.offsetHeight - scroll.scrollTop - scroll.clientHeight;
      if (below > 0) scroll.scrollTop = Math.min(scroll.scrollTop + below, line.offsetTop - table.tHead.offsetHeight);
    };
    await show(0);
  }

  function drawDetail(cell, given, at, told, show) {
    const many = given.all.length;
    const rows = (list) => h("dl", {}, list.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    const part = (name, ...children) => h("section", {}, h("h4", {}, name), ...children);
    return h("div", { class: "cmp-panel", tabindex: -1, role: "region", "aria-label": `detail of ${cell.getAttribute("aria-label")}` },
      h("div", { class: "tk-bar" },
        h("b", {}, cell.getAttribute("aria-label")),
        many < 2 ? null : h("span", { class: "cmp-pager" },
          h("button", { type: "button", "aria-label": "output before", disabled: at === 0, onclick: () => show(at - 1) }, "‹"), `output ${at + 1} of ${number(many)}`,
          h("button", { type: "button", "aria-label": "next output", disabled: at === many - 1, onclick: () => show(at + 1) }, "›")),
        h("button", { type: "button", class: "cmp-close", onclick: () => close() }, "close (Esc)")),
      told.told.error === null ? null : h("div", { class: "tk-error" }, told.told.error),
      told.problem === null ? null : h("div", { class: "tk-error" }, told.problem),
      facts(told.told),
      h("div", { class: "tk-said cmp-full" }, pieces(told.pieces)),
      gradeBox(given.all[at], cell.getAttribute("aria-label"), told.told.error !== null),
      h("div", { class: "cmp-parts" },
        part("asked", told.prompt.length ? told.prompt.map(([role, text]) => h("div", { class: "cmp-turn" }, h("b", {}, role), h("div", { class: "tk-said" }, text))) : "not known"),
        part("settings", rows(told.settings)), part("answered by", rows(told.facts))));
  }

  function close(back = true) {
    if (!opened) return;
    const { cell, line } = opened;
    opened = null;
    line.remove();
    cell.setAttribute("aria-expanded", "false");
    if (back) cell.focus();
  }

  // Mouse and keyboard

  // Only the controls of the current cell are tab stops.
  function reach(cell) {
    table.querySelectorAll(".cmp-cell :is(button, input)").forEach((one) => (one.tabIndex = cell?.contains(one) ? 0 : -1));
    table.querySelectorAll(".cmp-row .cmp-pick").forEach((one) => (one.tabIndex = cell && one.closest("tr") === cell.closest("tr") ? 0 : -1));
  }
  const focusCell = () => table.querySelector('.cmp-cell[tabindex="0"]')?.focus();
  const o = { signal };
  table.addEventListener("focusin", (e) => { const cell = e.target.closest(".cmp-cell"); if (cell) reach(cell); }, o);
  table.addEventListener("click", (e) => {
    const cell = e.target.closest(".cmp-cell");
    if (cell && !e.target.closest("button, input, .cmp-grade") && !String(getSelection())) open(cell);
  }, o);
  table.addEventListener("keydown", (e) => {
    const cell = e.target.closest(".cmp-cell");
    if (!e.target.matches(".cmp-cell, .cmp-text") || e.ctrlKey || e.metaKey || e.altKey) return;
    const press = (selector) => cell.querySelector(selector)?.click();
    const go = (selector) => cell.querySelector(selector)?.focus();
    const keys = {
      Enter: () => open(cell), u: () => press(".cmp-thumb"), d: () => press(".cmp-thumb + .cmp-thumb"), x: () => press(".cmp-pick"),
      s: () => go(".cmp-score"), n: () => go(".cmp-note"),
      PageDown: () => turn(1, "0-0"), PageUp: () => turn(-1, "0-0"),
    };
    if (!keys[e.key]) return;
    e.preventDefault();
    e.stopPropagation();
    keys[e.key]();
  }, o);
  root.addEventListener("keydown", (e) => {
    if (e.key === "Escape" && opened) { e.preventDefault(); close(); }
    if (e.key === "/" && !e.target.closest("input, select, textarea")) { e.preventDefault(); search.focus(); }
  }, o);

  const key = (name) => h("kbd", {}, name);
  root.append(
    h("div", { class: "tk-bar" }, axes,
      chooser("diff", [["word", "words"], ["token", "tokens"], ["none", "off"]], "word", (diff) => { state.diff = diff; load(); }),
      h("label", { class: "tk-field" }, differing, "only differing")),
    h("div", { class: "tk-bar" }, h("span", { class: "cmp-find" }, search, problem), filter, values, chips,
      h("span", { class: "tk-field" }, chooser("sort", [...none, ...sorts], "", (sort) => from({ sort: sort || null })), order),
      chooser("group", [...none, ...sorts], "", (group) => from({ group: group || null }))),
    h("div", { class: "cmp-counts tk-faint" }, counts, h("span", {}, h("ins", { class: "cmp-insert" }, "only here"), " ", h("del", { class: "cmp-delete" }, "only in the baseline"))),
    alert, scroll,
    h("div", { class: "tk-bar cmp-foot" }, h("span", { class: "cmp-pager" }, earlier, rowsSaid, later), columnBar, selectedSaid, all, clear, csv, jsonl),
    h("div", { class: "cmp-help tk-faint" }, key("←↑↓→"), " move ", key("Enter"), " detail ", key("u"), key("d"), " thumbs ", key("s"), " score ",
      key("n"), " note ", key("x"), " select ", key("/"), " search ", key("PgUp"), key("PgDn"), " pages"));
  draw();

  // The content dates from the widget's creation: a later view must ask for the current grades and selection.
  const drawn = [...grades.keys()];
  ask("known", { places: drawn }).then((known) => {
    drawn.forEach((i, k) => { grades.set(i, known.grades[k]); regrade(i); });
    known.selected.forEach((i) => selected.add(i));
    table.querySelectorAll(".cmp-pick").forEach((box) => box.sync());
    drawFoot();
  }, tell);
});
