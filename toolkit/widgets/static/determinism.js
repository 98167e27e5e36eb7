export default widget(({ root, content, ask, signal }) => {
  const { systems, sentences } = content;
  const size = systems.length;
  const many = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
  // A share below 1 is not rounded up to 100 %.
  const share = (p) => (p < 1 && p > 0.9995 ? "> 99.9 %" : percent(p));
  const nats = (x) => (x === null ? "not known" : `${number(x)} nats`);
  const cellOf = (a, b) => content.cells[a * size - (a * (a - 1)) / 2 + (b - a)];
  const pair = (a, b) => (a === b ? `within ${systems[a]}` : `${systems[a]} and ${systems[b]}`);

  const beside = h("div", { class: "tk-det-beside" }), list = h("section", { class: "tk-det-list" });
  const detail = h("section", { class: "tk-det-fork", "aria-label": "both answers" });
  const status = h("div", { class: "tk-error", role: "status" });
  // A response that arrives after another request was made is dropped.
  const fetched = latest(ask);
  const asked = async (what, given, then) => {
    root.setAttribute("aria-busy", "true");
    try {
      const value = await fetched(what, given);
      status.textContent = "";
      then(value);
    } catch (error) {
      status.textContent = error.message;
    }
    root.removeAttribute("aria-busy");
  };

  // Findings

  const shown = 5;
  const item = (text) => h("li", {}, text);
  const findings = h("div", { class: "tk-det-findings" },
    h("ul", {}, sentences.slice(0, shown).map(item)),
    sentences.length > shown &&
      h("details", {}, h("summary", {}, `${many(sentences.length - shown, "more finding")}`), h("ul", {}, sentences.slice(shown).map(item))));

  // The matrix

  const cell = (a, b) => {
    const [from, to] = [Math.min(a, b), Math.max(a, b)];
    const [agreement, requests, forked] = cellOf(from, to);
    const told = requests ? share(agreement) : "–";
    const count = requests ? `${number(forked)} of ${number(requests)} fork` : a === b ? "single runs" : "none in common";
    const choose = () => asked("cell", { a: from, b: to }, open);
    return h("td", {},
      h("button", {
        class: `tk-det-cell${forked ? " tk-det-forks" : ""}`, "data-cell": `${from},${to}`, "aria-pressed": "false", tabindex: -1,
        "aria-label": `${pair(from, to)}: ${told} of pairs of runs agree, ${count}`,
        style: { "--share": requests ? agreement ?? 0 : 0 }, onclick: choose,
      }, h("b", {}, told), h("span", {}, count)));
  };
  const matrix = h("table", { class: "tk-det-matrix" },
    h("caption", {}, "How often two runs agree", h("span", { class: "tk-faint" }, ` · by ${content.across}, on the diagonal two of one`)),
    h("thead", {}, h("tr", {}, h("td", {}), systems.map((name) => h("th", { scope: "col", title: name }, h("span", {}, name))))),
    h("tbody", {}, systems.map((name, a) =>
      h("tr", {},
        h("th", { scope: "row", title: name },
          h("span", {}, name),
          content.told[a].slice(0, 3).map((part) => h("small", {}, part)),
          content.told[a].length > 3 && h("small", {}, `and ${content.told[a].length - 3} more`)),
        systems.map((_, b) => cell(a, b))))));
  roving(matrix, ".tk-det-cell", signal, { ArrowRight: 1, ArrowLeft: -1, ArrowDown: size, ArrowUp: -size }).reset();

  // A cell

  const open = (found) => {
    const { a, b } = found;
    for (const one of matrix.querySelectorAll(".tk-det-cell"))
      one.setAttribute("aria-pressed", `${one.dataset.cell === `${a},${b}`}`);
    close();
    beside.replaceChildren(h("div", {},
      h("h4", {}, pair(a, b)),
      found.words && h("p", { class: "tk-det-words" }, found.words),
      components(found.components),
      survival(found.survival)));
    listed(found, a, b);
  };

  const components = (rows) =>
    rows.length ? h("table", { class: "tk-det-parts" },
      h("thead", {}, h("tr", {}, ["component", "what it is", "here", "there"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map(([name, what, here, there]) =>
        h("tr", {}, h("td", {}, name), h("td", { class: "tk-faint" }, what), h("td", {}, here), h("td", {}, there))))) : null;

  const survival = (points) => {
    if (!points.length) return h("p", { class: "tk-faint" }, "No pair of runs whose tokens are known: no curve of survival.");
    // The share holds until the next token: a step function.
    const stairs = (column) => points.flatMap((p, i) => (i ? [[p[0], points[i - 1][column]], [p[0], p[column]]] : [[p[0], p[column]]]));
    const [last] = points.slice(-1);
    const band = last[2] === null ? [] : [
      { name: "95 % interval, over requests", line: true, mark: 5, points: stairs(2) },
      { name: "", line: true, mark: 5, points: stairs(3) },
    ];
    const series = [...band, { name: "pairs of runs", line: true, mark: 0, points: stairs(1) }];
    return h("div", {},
      chart({ series, x: "tokens", y: "share still equal", height: 200 }),
      h("p", { class: "tk-faint" }, `After ${many(last[0], "token")} ${share(last[1])} of the pairs are still equal (Kaplan and Meier).`));
  };

  // The forks of a cell

  const listed = ({ forks, total, page, size: most }, a, b) => {
    const turn = (to) => asked("forks", { a, b, page: to }, (found) => {
      close();
      listed(found, a, b);
      const buttons = [...list.querySelectorAll(".tk-det-pager button")];
      if (to < page) buttons.reverse();
      buttons.findLast((one) => !one.disabled).focus();
    });
    const title = h("h4", {}, total ? `Prompts that fork ${a === b ? pair(a, b) : "here"}: ${number(total)}` : "No prompt forks here");
    if (!total) return list.replaceChildren(title, h("p", { class: "tk-faint" }, "The commonest outputs are the same. That they always are is not proved by this: see the bounds above."));
    const heads = ["prompt", "token", systems[a], a === b ? "another run" : systems[b], "margin, nats", "runs"];
    const table = h("table", { class: "tk-det-forks-table" },
      h("thead", {}, h("tr", {}, heads.map((name, i) => h("th", { scope: "col", class: i === 1 || i > 3 ? "tk-number" : "", title: name }, h("span", {}, name))))),
      h("tbody", {}, forks.map((fork) => forkRow(fork, a, b))));
    const last = Math.ceil(total / most) - 1;
    const pager = last > 0 && h("div", { class: "tk-bar tk-det-pager" },
      h("button", { disabled: page === 0, onclick: () => turn(page - 1) }, "‹ before"),
      `${number(page * most + 1)} to ${number(page * most + forks.length)} of ${number(total)}`,
      h("button", { disabled: page === last, onclick: () => turn(page + 1) }, "next ›"));
    list.replaceChildren(title, table, ...(pager ? [pager] : []));
    roving(table, ".tk-det-prompt", signal).reset();
  };

  const forkRow = (fork, a, b) => {
    const said = (text) => h("td", {}, fork.step === null ? h("span", { class: "tk-faint" }, "other text") : text === null ? h("i", {}, "the end") : token(text));
    const button = h("button", {
      class: "tk-det-prompt", title: fork.prompt, "aria-expanded": "false", tabindex: -1,
      onclick: () => asked("fork", { row: fork.row }, (found) => {
        close();
        button.setAttribute("aria-expanded", "true");
        unfolded(found, fork, a, b);
      }),
    }, h("span", { class: "tk-said" }, fork.prompt));
    return h("tr", {},
      h("td", {}, button, fork.settings && h("small", { class: "tk-faint" }, fork.settings)),
      h("td", { class: "tk-number" }, number(fork.step)),
      fork.tokens.map(said),
      h("td", { class: "tk-number" }, fork.margins.map((m) => h("div", {}, number(m)))),
      h("td", { class: "tk-number" }, fork.runs.map(([some, all]) => h("div", {}, `${some} of ${all}`))));
  };

  const token = (text) => h("code", { class: "tk-det-token tk-said" }, text === "" ? "(nothing)" : text);

  // A fork

  let gone = new AbortController();
  const close = () => {
    gone.abort();
    detail.replaceChildren();
    list.querySelector("[aria-expanded=true]")?.setAttribute("aria-expanded", "false");
  };
  signal.addEventListener("abort", () => gone.abort());
  root.addEventListener("keydown", (event) => {
    const from = list.querySelector("[aria-expanded=true]");
    if (event.key !== "Escape" || !from || event.defaultPrevented) return;
    close();
    from.focus();
  }, { signal });

  const unfolded = (found, fork, a, b) => {
    gone = new AbortController();
    const names = [systems[a], a === b ? "another run of it" : systems[b]];
    const heads = names.map((name, i) => h("header", {}, h("b", {}, name), ` · ${fork.runs[i][0]} of ${many(fork.runs[i][1], "run")} say this`));
    const prompt = h("div", { class: "tk-said tk-det-asked" }, fork.prompt);
    if (found.why) {
      detail.append(prompt, h("p", { class: "tk-faint" }, found.why),
        h("div", { class: "tk-det-sides" }, found.texts.map((text, i) => h("article", {}, heads[i], h("div", { class: "tk-said tk-code" }, text)))));
      return;
    }
    detail.append(
      prompt,
      h("p", {}, facts(found)),
      ...(found.totals[0] ? [h("div", { class: "tk-det-shared" },
        h("header", {}, h("b", {}, "both"), ` · ${many(found.at, "shared token")}`), pieces(found, fork.row, 0, "what both say"))] : []),
      h("div", { class: "tk-det-sides" }, [0, 1].map((i) =>
        h("article", {}, heads[i],
          found.totals[i + 1] ? pieces(found, fork.row, i + 1, `how ${names[i]} goes on`) : h("p", {}, h("mark", { class: "tk-det-end" }, "ends here"))))),
      h("p", { class: "tk-faint" }, "Marked: the token at which they part. Dimmed: what both say."),
      candidates(found, names));
    detail.scrollIntoView({ block: "nearest" });
  };

  const facts = ({ at, margins, drift, near_ties }) => [
    `Token ${number(at)} is the first that differs. Margin of the best token over the second there: ${nats(margins[0])} and ${nats(margins[1])}. `,
    drift === null ? "" : `Largest drift of a log probability before it: ${nats(drift)}. `,
    near_ties === null ? "" : `Near ties, where such a drift can turn the choice: ${percent(near_ties)} of the shared tokens.`,
  ];

  // One of the three strips: the shared part, and what follows in each answer.
  const pieces = (found, row, side, label) => {
    const given = side ? found.after[side - 1] : found.shared;
    const marked = (from) => given.slice(from).forEach((piece, i) => piece.same && made.mark(from + i, "same"));
    const made = strip(given, {
      signal: gone.signal, label, total: found.totals[side],
      fill: (i) => told(given[i]),
      more: async (first) => {
        const next = await ask("pieces", { row, side, first });
        next.forEach((piece, i) => piece.same && made.mark(first + i, "same"));
        return next;
      },
    });
    marked(0);
    if (side) made.mark(0, "fork");
    return made;
  };

  const told = ({ step, values, rank }) => h("span", {},
    `token ${number(step)}`,
    values.probability === null ? "" : ` · probability ${percent(values.probability, 2)}`,
    rank === null ? "" : ` · rank ${number(rank)}`);

  // Both lists of likely tokens: a's bars to the left, b's to the right, the tokens between them.
  const candidates = ({ candidates: rows, listed: lengths }, names) => {
    if (!rows.some((row) => row.logprobs.some((p) => p !== null)))
      return h("p", { class: "tk-faint" }, "What each had to choose from is not known: ask with top_logprobs.");
    const probability = (p) => (p === null ? null : Math.exp(p));
    const most = Math.max(...rows.flatMap((row) => row.logprobs).map(probability));
    const side = (row, i) => {
      const p = probability(row.logprobs[i]), taken = row.taken === "ab"[i];
      const bar = h("span", { class: `tk-det-bar${p === null ? " tk-det-missing" : ""}` },
        p !== null && h("span", { style: { width: `${(100 * p) / most}%` } }));
      const value = p === null
        ? h("span", { class: "tk-faint" }, lengths[i] ? `not in its ${lengths[i]}` : "not known")
        : h("span", {}, percent(p, 2));
      const mark = h("span", { class: "tk-det-taken" }, taken ? "taken" : "");
      return h("td", { class: `tk-det-side-${i}` }, h("div", { class: "tk-det-half" }, i ? [bar, value, mark] : [mark, value, bar]));
    };
    return h("table", { class: "tk-det-candidates" },
      h("caption", {}, "What each had to choose from: probability of each token"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "tk-number" }, names[0]), h("th", { scope: "col" }, "token"), h("th", { scope: "col" }, names[1]))),
      h("tbody", {}, rows.map((row) =>
        h("tr", { class: row.taken ? "tk-det-chosen" : "" }, side(row, 0), h("td", {}, token(row.text)), side(row, 1)))));
  };

  root.append(findings, h("div", { class: "tk-det-top" }, h("div", { class: "tk-det-scroll" }, matrix), beside), status, list, detail);
  open(content.opened);
});
