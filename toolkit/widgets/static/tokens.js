// TokensView: a text as tokens of one tokenizer, or of two side by side, and an editor of the text.
export default widget(({ root, content, request, on, signal }) => {
  const box = h("div", { class: "tk-tokens" }), problem = h("p", { class: "tk-error", role: "alert" });
  let sides = []; // { row, pieces, marked } of each tokenizer

  const draw = (contents) => {
    sides = [];
    box.replaceChildren(...contents.map(sideSection));
  };
  const sideSection = (side, i) => {
    const row = tokenRow(side.pieces, {
      signal, label: `tokens of ${side.name}`, total: side.total,
      tip: (at) => { markOverlapping(i, at); return positionTable(side.pieces[at]); },
      more: (first) => request("pieces", { side: i, first }),
    });
    side.pieces.forEach((piece, at) => piece.same === false && row.mark(at, "apart"));
    sides[i] = { row, pieces: side.pieces, marked: [] };
    return h("section", { class: "tk-side" }, h("h4", {}, side.name), h("p", {}, ...countsOf(side)), row);
  };
  // Marks the pieces of the other side that have characters of this piece.
  const markOverlapping = (i, at) => {
    const piece = sides[i].pieces[at], other = sides[1 - i];
    unmark();
    if (!other) return;
    other.marked = other.pieces.flatMap((p, j) => (p.from < piece.to && piece.from < p.to ? [j] : []));
    other.marked.forEach((j) => other.row.mark(j, "same"));
  };
  const unmark = () => sides.forEach((side) => {
    side.marked.forEach((j) => side.row.mark(j, "same", false));
    side.marked = [];
  });
  box.addEventListener("focusout", unmark, { signal });
  box.addEventListener("pointerleave", unmark, { signal });

  if (content.text === null) {
    const limit = content.max_chars.toLocaleString("en");
    root.append(h("p", { class: "tk-faint" }, `A text of more than ${limit} characters cannot be edited here.`));
  } else root.append(editor({ content, request, on, draw, problem }));
  root.append(problem, box);
  draw(content.sides);
});

function editor({ content, request, on, draw, problem }) {
  const tokenize = latest((text) => request("tokenize", { text }));
  const oninput = debounce(async () => {
    try {
      const sides = await tokenize(area.value);
      problem.textContent = "";
      draw(sides);
    } catch (error) {
      problem.textContent = error.message;
    }
  });
  const area = h("textarea", {
    rows: "3", "aria-label": "text to cut", spellcheck: "false", maxlength: `${content.max_chars}`, oninput });
  area.value = content.text;
  // Another view of this widget was edited; text that is being typed here is not overwritten.
  on("content", (update) => {
    if (document.activeElement === area) return;
    area.value = update.text;
    draw(update.sides);
  });
  return area;
}

function countsOf({ counts: [tokens, ...others], compared }) {
  return [h("b", {}, tokens), others.map((count) => ` · ${count}`).join(""),
    ...(compared ? [h("br"), h("span", { class: "tk-faint" }, compared)] : [])];
}

function positionTable(piece) {
  const { from, to } = piece;
  const characters = to - from === 1 ? ` character ${from}` : ` characters ${from} to ${to - 1}`;
  return h("div", { class: "tk-places" }, h("b", { class: "tk-code" }, piece.text.replaceAll("\n", "⏎")),
    h("span", { class: "tk-faint" }, characters),
    h("table", {}, h("tr", {}, ["token", "id", "bytes", ""].map((name) => h("th", {}, name))),
      piece.tokens.map((token) => h("tr", {}, h("td", {}, token.at), h("td", {}, token.id),
        h("td", { class: "tk-code" }, token.bytes), h("td", { class: "tk-code tk-faint" }, token.hex)))));
}
