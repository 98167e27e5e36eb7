// Tokens in a row, for the widgets that show a model's text token by token.
//
//   const row = strip(pieces, { signal, fill, label, onselect, total, more });
//   pieces    [{ text, values: { probability, rank, surprisal, entropy }, … }], null where unknown. A piece is
//             one token, or the few whose bytes make one character (`Choice.pieces`); its text is visible() already
//   fill      fill(i) → the tooltip's content for piece i, or null
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
  probability: { strength: (v) => 1 - v, edges: [0.75, 0.5, 0.25], down: true, names: ["over 75 %", "to 75 %", "to 50 %", "to 25 %"] },
  rank: { strength: (v) => Math.log10(Math.max(v, 1)) / 2, edges: [2, 11, 100], names: ["1", "2 to 10", "11 to 99", "100 and over"] },
  surprisal: { strength: (v) => v / 8, edges: [2, 4, 6], names: ["under 2 nats", "from 2", "from 4", "from 6"] },
  entropy: { strength: (v) => v / 4, edges: [1, 2, 3], names: ["at most 1 nat", "to 2", "to 3", "over 3"] },
};
const PAGE = 400;

function coloured(element, value, by) {
  const known = by && value !== null && value !== undefined;
  const { strength, edges, down } = MEASURES[by] ?? {};
  element.style.setProperty("--strength", known ? Math.min(1, Math.max(0, strength(value))).toFixed(3) : 0);
  element.dataset.level = known ? edges.filter((edge) => (down ? value <= edge : value >= edge)).length : by ? "unknown" : "";
}

// The legend of colours and underlines, shown beside the strips.
function stripKey(by) {
  const { edges, down, names } = MEASURES[by];
  const samples = names.map((name, i) => {
    const sample = h("span", { class: "tk-piece" }, "text");
    // A value in the middle of the level; the first begins at the expected value, 1 for probabilities and ranks.
    const ends = [down || by === "rank" ? 1 : 0, ...edges, down ? 0 : 2 * edges[2] - edges[1]];
    coloured(sample, (ends[i] + ends[i + 1]) / 2 - (by === "rank" && !i ? 0.5 : 0), by);
    return h("span", {}, sample, name);
  });
  return h("div", { class: "tk-key tk-strip-key" }, h("b", {}, by), samples);
}

function strip(pieces, { signal, fill, label = "tokens", onselect = () => {}, total = pieces.length, more }) {
  const row = h("div", { class: "tk-pieces", role: "listbox", "aria-label": label, "aria-multiselectable": "true" });
  const rest = h("button", { class: "tk-strip-more", onclick: () => draw(true) });
  const box = h("div", { class: "tk-strip" }, row, rest);
  const marks = new Map();
  let by = null, at = 0, anchor = 0, chosen = null, dragging = false, extending = false;

  const one = (i) => row.children[i];
  const of = (event) => { const found = event.target.closest?.(".tk-piece"); return found && row.contains(found) ? +found.dataset.i : null; };
  const inside = (i) => chosen !== null && chosen[0] <= i && i <= chosen[1];

  const span = (i) => {
    const made = h("span", {
      class: ["tk-piece", ...[...(marks.get(i) ?? [])].map((name) => `tk-is-${name}`)].join(" "),
      role: "option", tabindex: i === at ? "0" : "-1", "data-i": i, "aria-selected": `${inside(i)}`,
    }, pieces[i].text.replaceAll("\n", "⏎\n"));
    coloured(made, pieces[i].values?.[by], by);
    return made;
  };
  const draw = async (focus) => {
    const from = row.children.length;
    if (from >= pieces.length && more) {
      rest.disabled = true;
      try { pieces.push(...(await more(from))); } catch (error) { rest.textContent = `${error.message}: try again`; return; } finally { rest.disabled = false; }
      if (row.children.length > from) return;
    }
    const to = Math.min(from + PAGE, pieces.length);
    row.append(...Array.from({ length: to - from }, (_, j) => span(from + j)));
    rest.hidden = to >= total;
    rest.textContent = `Show more: ${(total - to).toLocaleString("en")} of ${total.toLocaleString("en")} left`;
    if (focus && from < to) move(from);
  };
  const move = (i) => {
    if (!one(i)) return;
    if (one(at)) one(at).tabIndex = -1;
    at = i;
    one(i).tabIndex = 0;
    one(i).focus();
  };
  const select = (first, last = first) => {
    const before = chosen;
    chosen = first === null ? null : [Math.min(first, last), Math.max(first, last)];
    if (`${before}` === `${chosen}`) return;
    for (const [a, b] of [before, chosen].filter(Boolean))
      for (let i = a; i <= b; i++) one(i)?.setAttribute("aria-selected", `${inside(i)}`);
    onselect(...(chosen ?? [null]));
  };
  // The piece above or below: on the next line, nearest to this one's left edge.
  const beside = (step) => {
    const { offsetTop: top, offsetLeft: left } = one(at);
    let line = null, best = at;
    for (let i = at + step; one(i); i += step) {
      const other = one(i);
      if (other.offsetTop === top) continue;
      line ??= other.offsetTop;
      if (other.offsetTop !== line) break;
      if (best === at || Math.abs(other.offsetLeft - left) < Math.abs(one(best).offsetLeft - left)) best = i;
    }
    return best;
  };
  const keys = {
    ArrowRight: () => at + 1, ArrowLeft: () => at - 1, ArrowDown: () => beside(1), ArrowUp: () => beside(-1),
    Home: () => 0, End: () => row.children.length - 1,
  };

  const o = { signal };
  row.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return select(null);
    const here = event.key === " " || event.key === "Enter";
    if (!here && !(event.key in keys)) return;
    event.preventDefault();
    event.stopPropagation();
    if (here) return select(at);
    const to = keys[event.key]();
    if (!one(to)) return;
    if (event.shiftKey && !extending) anchor = at;
    extending = event.shiftKey;
    move(to);
    if (extending) select(anchor, to);
  }, o);
  row.addEventListener("pointerdown", (event) => {
    const i = of(event);
    if (i === null || event.button) return;
    event.preventDefault();
    if (!event.shiftKey) anchor = i;
    dragging = extending = true;
    addEventListener("pointerup", () => (dragging = false), { once: true, signal });
    select(anchor, i);
    move(i);
  }, o);
  row.addEventListener("pointerover", (event) => {
    const i = dragging && event.buttons & 1 ? of(event) : null;
    if (i !== null) { select(anchor, i); move(i); }
  }, o);
  row.addEventListener("focusin", (event) => { const i = of(event); if (i !== null && i !== at) move(i); }, o);
  // No tooltip over a span that is being dragged.
  if (fill) tip(box, ".tk-piece", (element) => (dragging && chosen[0] !== chosen[1] ? null : fill(+element.dataset.i)), signal);
  draw();

  return Object.assign(box, {
    colour(name) {
      by = name;
      for (const [i, element] of [...row.children].entries()) coloured(element, pieces[i].values?.[by], by);
    },
    mark(i, name, on = true) {
      if (!marks.has(i)) marks.set(i, new Set());
      marks.get(i)[on ? "add" : "delete"](name);
      one(i)?.classList.toggle(`tk-is-${name}`, on);
    },
    async go(i) {
      while (!one(i) && row.children.length < total) {
        const before = row.children.length;
        await draw();
        if (row.children.length === before) return;
      }
      one(i)?.scrollIntoView({ block: "nearest" });
      move(i);
    },
    select,
  });
}
