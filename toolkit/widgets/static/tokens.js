export default widget(({ root, content, ask, on, signal }) => {
  const box = h("div", { class: "tk-tokens" }), error = h("p", { class: "tk-error", role: "alert" });
  let rows = [];

  const show = (sides) => {
    rows = [];
    box.replaceChildren(...sides.map(sideOf));
  };
  const sideOf = (side, i) => {
    const row = strip(side.pieces, {
      signal, label: `tokens of ${side.name}`, total: side.total,
      fill: (at) => { point(i, at); return placesOf(side.pieces[at]); },
      more: (first) => ask("pieces", { side: i, first }),
    });
    side.pieces.forEach((piece, at) => piece.same === false && row.mark(at, "apart"));
    rows[i] = { row, pieces: side.pieces, lit: [] };
    return h("section", { class: "tk-side" }, h("h4", {}, side.name), h("p", {}, ...countsOf(side)), row);
  };
  // The same characters on the other side.
  const point = (i, at) => {
    const here = rows[i].pieces[at], there = rows[1 - i];
    dim();
    if (!there) return;
    there.lit = there.pieces.flatMap((piece, j) => (piece.from < here.to && here.from < piece.to ? [j] : []));
    there.lit.forEach((j) => there.row.mark(j, "same"));
  };
  const dim = () => rows.forEach((one) => { one.lit.forEach((j) => one.row.mark(j, "same", false)); one.lit = []; });
  box.addEventListener("focusout", dim, { signal });
  box.addEventListener("pointerleave", dim, { signal });

  if (content.text === null) {
    root.append(h("p", { class: "tk-faint" }, `A text of more than ${content.most.toLocaleString("en")} characters cannot be edited here.`));
  } else {
    const cut = latest((text) => ask("cut", { text }));
    const area = h("textarea", { rows: "3", "aria-label": "text to cut", spellcheck: "false", maxlength: `${content.most}`, oninput: settled(async () => {
      try { const sides = await cut(area.value); error.textContent = ""; show(sides); } catch (e) { error.textContent = e.message; }
    }) });
    area.value = content.text;
    root.append(area);
    // Another view of this widget was edited; text that is being typed here is not overwritten.
    on("content", (now) => {
      if (document.activeElement === area) return;
      area.value = now.text;
      show(now.sides);
    });
  }
  root.append(error, box);
  show(content.sides);
});

function countsOf({ counts: [tokens, ...rest], compared }) {
  return [h("b", {}, tokens), rest.map((one) => ` · ${one}`).join(""),
    ...(compared ? [h("br"), h("span", { class: "tk-faint" }, compared)] : [])];
}

function placesOf(piece) {
  return h("div", { class: "tk-places" }, h("b", { class: "tk-code" }, piece.text.replaceAll("\n", "⏎")),
    h("span", { class: "tk-faint" }, piece.to - piece.from === 1 ? ` character ${piece.from}` : ` characters ${piece.from} to ${piece.to - 1}`),
    h("table", {}, h("tr", {}, ["token", "id", "bytes", ""].map((name) => h("th", {}, name))),
      piece.tokens.map((token) => h("tr", {}, h("td", {}, token.at), h("td", {}, token.id), h("td", { class: "tk-code" }, token.bytes), h("td", { class: "tk-code tk-faint" }, token.hex)))));
}
