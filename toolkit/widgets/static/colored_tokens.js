// Tokens in a row, for the widgets that show a model's text token by token.
//
//   const row = tokenRow(pieces, { signal, tip, label, onselect, total, more });
//   pieces    [{ text, values: { probability, rank, surprisal, entropy }, … }], null where unknown. A piece is
//             one token, or the few whose bytes make one character (`Choice.pieces`); its text is visible() already
//   tip       tip(i) → the tooltip's content for piece i, or null
//   onselect  onselect(first, last), both included, when a span is selected; onselect(null) when it is cleared
//   total     number of all pieces, where `pieces` has only the first; more(from) → a promise of the next ones
// Methods of the element:
//   row.colour(by)                 one of MEASURES, or null for none
//   row.mark(i, name, on = true)   the class `tk-is-NAME` on a piece, rendered already or not; the caller styles it
//   row.go(i)                      renders up to that piece, scrolls to it and focuses it
//   row.select(first, last)        selects a span; select(null) clears the selection
// One piece is a tab stop. Arrows (also to the line above and below), Home and End move; with Shift they select, as
// dragging does. Space or Enter selects one piece, Escape clears the selection.

// The measures that colour pieces: the strength (as in toolkit/display/colored_tokens.py: 0 for expected, 1 for most
// surprising), and the bounds of the four underlines, which show it without colour.
const MEASURES = {
  probability: {
    strength: (v) => 1 - v, edges: [0.75, 0.5, 0.25], down: true,
    names: ["over 75 %", "to 75 %", "to 50 %", "to 25 %"],
  },
  rank: {
    strength: (v) => Math.log10(Math.max(v, 1)) / 2, edges: [2, 11, 100],
    names: ["1", "2 to 10", "11 to 99", "100 and over"],
  },
  surprisal: { strength: (v) => v / 8, edges: [2, 4, 6], names: ["under 2 nats", "from 2", "from 4", "from 6"] },
  entropy: { strength: (v) => v / 4, edges: [1, 2, 3], names: ["at most 1 nat", "to 2", "to 3", "over 3"] },
};
const PIECES_PER_PAGE = 400;

function setColour(element, value, by) {
  const hasValue = by && value !== null && value !== undefined;
  const { strength, edges, down } = MEASURES[by] ?? {};
  const level = hasValue ? edges.filter((edge) => (down ? value <= edge : value >= edge)).length : by ? "unknown" : "";
  element.style.setProperty("--strength", hasValue ? Math.min(1, Math.max(0, strength(value))).toFixed(3) : 0);
  element.dataset.level = level;
}

// The legend of colours and underlines, shown beside the tokens.
function colourLegend(by) {
  const { edges, down, names } = MEASURES[by];
  const samples = names.map((name, i) => {
    const sample = h("span", { class: "tk-piece" }, "text");
    // A value in the middle of the level; the first begins at the expected value, 1 for probabilities and ranks.
    const ends = [down || by === "rank" ? 1 : 0, ...edges, down ? 0 : 2 * edges[2] - edges[1]];
    setColour(sample, (ends[i] + ends[i + 1]) / 2 - (by === "rank" && !i ? 0.5 : 0), by);
    return h("span", {}, sample, name);
  });
  return h("div", { class: "tk-key tk-strip-key" }, h("b", {}, by), samples);
}

function tokenRow(pieces, options) {
  const row = new TokenRow(pieces, options);
  return Object.assign(row.box, {
    colour: (by) => row.colour(by),
    mark: (i, name, on) => row.mark(i, name, on),
    go: (i) => row.go(i),
    select: (first, last) => row.select(first, last),
  });
}

class TokenRow {
  constructor(pieces, { signal, tip, label = "tokens", onselect = () => {}, total = pieces.length, more }) {
    Object.assign(this, { pieces, onselect, total, more });
    this.row = h("div", { class: "tk-pieces", role: "listbox", "aria-label": label, "aria-multiselectable": "true" });
    this.rest = h("button", { class: "tk-strip-more", onclick: () => this.render(true) });
    this.box = h("div", { class: "tk-strip" }, this.row, this.rest);
    this.marks = new Map(); // piece → the names of its marks
    this.by = null;
    this.current = this.anchor = 0;
    this.span = null; // the selected pieces: [first, last]
    this.dragging = this.extending = false;
    this.listen(signal);
    // No tooltip over a span that is being dragged.
    const content = (element) => (this.dragging && this.span[0] !== this.span[1] ? null : tip(+element.dataset.i));
    if (tip) tooltip(this.box, ".tk-piece", content, signal);
    this.render();
  }

  piece(i) {
    return this.row.children[i];
  }

  isSelected(i) {
    return this.span !== null && this.span[0] <= i && i <= this.span[1];
  }

  pieceElement(i) {
    const marks = [...(this.marks.get(i) ?? [])].map((name) => `tk-is-${name}`);
    const element = h("span", {
      class: ["tk-piece", ...marks].join(" "), role: "option", tabindex: i === this.current ? "0" : "-1",
      "data-i": i, "aria-selected": `${this.isSelected(i)}`,
    }, this.pieces[i].text.replaceAll("\n", "⏎\n"));
    setColour(element, this.pieces[i].values?.[this.by], this.by);
    return element;
  }

  // Renders the next page. focus: moves to its first piece.
  async render(focus) {
    const { row, rest, total } = this;
    const from = row.children.length;
    if (from >= this.pieces.length && this.more && !(await this.load(from))) return;
    if (row.children.length > from) return; // rendered by another call meanwhile
    const to = Math.min(from + PIECES_PER_PAGE, this.pieces.length);
    row.append(...Array.from({ length: to - from }, (_, i) => this.pieceElement(from + i)));
    rest.hidden = to >= total;
    rest.textContent = `Show more: ${(total - to).toLocaleString("en")} of ${total.toLocaleString("en")} left`;
    if (focus && from < to) this.move(from);
  }

  // Whether the next pieces could be loaded.
  async load(from) {
    this.rest.disabled = true;
    try {
      this.pieces.push(...(await this.more(from)));
      return true;
    } catch (error) {
      this.rest.textContent = `${error.message}: try again`;
      return false;
    } finally {
      this.rest.disabled = false;
    }
  }

  move(i) {
    if (!this.piece(i)) return;
    if (this.piece(this.current)) this.piece(this.current).tabIndex = -1;
    this.current = i;
    this.piece(i).tabIndex = 0;
    this.piece(i).focus();
  }

  select(first, last = first) {
    const before = this.span;
    this.span = first === null ? null : [Math.min(first, last), Math.max(first, last)];
    if (`${before}` === `${this.span}`) return;
    for (const [a, b] of [before, this.span].filter(Boolean))
      for (let i = a; i <= b; i++) this.piece(i)?.setAttribute("aria-selected", `${this.isSelected(i)}`);
    this.onselect(...(this.span ?? [null]));
  }

  // The piece above (step -1) or below (1): on the next line, nearest to the current one's left edge.
  onNextLine(step) {
    const { offsetTop: top, offsetLeft: left } = this.piece(this.current);
    const distance = (i) => Math.abs(this.piece(i).offsetLeft - left);
    let line = null, nearest = this.current;
    for (let i = this.current + step; this.piece(i); i += step) {
      const pieceTop = this.piece(i).offsetTop;
      if (pieceTop === top) continue;
      line ??= pieceTop;
      if (pieceTop !== line) break;
      if (nearest === this.current || distance(i) < distance(nearest)) nearest = i;
    }
    return nearest;
  }

  listen(signal) {
    const options = { signal };
    this.row.addEventListener("keydown", (event) => this.onKey(event), options);
    this.row.addEventListener("pointerdown", (event) => this.onPointerDown(event, signal), options);
    this.row.addEventListener("pointerover", (event) => {
      const i = this.dragging && event.buttons & 1 ? this.pieceOf(event) : null;
      if (i === null) return;
      this.select(this.anchor, i);
      this.move(i);
    }, options);
    this.row.addEventListener("focusin", (event) => {
      const i = this.pieceOf(event);
      if (i !== null && i !== this.current) this.move(i);
    }, options);
  }

  // The number of the piece that an event is on, or null.
  pieceOf(event) {
    const element = event.target.closest?.(".tk-piece");
    return element && this.row.contains(element) ? +element.dataset.i : null;
  }

  onKey(event) {
    if (event.key === "Escape") return this.select(null);
    const targets = {
      ArrowRight: () => this.current + 1, ArrowLeft: () => this.current - 1,
      ArrowDown: () => this.onNextLine(1), ArrowUp: () => this.onNextLine(-1),
      Home: () => 0, End: () => this.row.children.length - 1,
    };
    const selects = event.key === " " || event.key === "Enter";
    if (!selects && !(event.key in targets)) return;
    event.preventDefault();
    event.stopPropagation();
    if (selects) return this.select(this.current);
    const target = targets[event.key]();
    if (!this.piece(target)) return;
    if (event.shiftKey && !this.extending) this.anchor = this.current;
    this.extending = event.shiftKey;
    this.move(target);
    if (this.extending) this.select(this.anchor, target);
  }

  onPointerDown(event, signal) {
    const i = this.pieceOf(event);
    if (i === null || event.button) return;
    event.preventDefault();
    if (!event.shiftKey) this.anchor = i;
    this.dragging = this.extending = true;
    addEventListener("pointerup", () => (this.dragging = false), { once: true, signal });
    this.select(this.anchor, i);
    this.move(i);
  }

  colour(by) {
    this.by = by;
    for (const [i, element] of [...this.row.children].entries()) setColour(element, this.pieces[i].values?.[by], by);
  }

  mark(i, name, on = true) {
    if (!this.marks.has(i)) this.marks.set(i, new Set());
    this.marks.get(i)[on ? "add" : "delete"](name);
    this.piece(i)?.classList.toggle(`tk-is-${name}`, on);
  }

  async go(i) {
    while (!this.piece(i) && this.row.children.length < this.total) {
      const before = this.row.children.length;
      await this.render();
      if (this.row.children.length === before) return;
    }
    this.piece(i)?.scrollIntoView({ block: "nearest" });
    this.move(i);
  }
}
