// DeterminismView: the agreement of systems as a matrix, the forks of a cell, and both answers of a fork.
const SENTENCES = 5; // findings that are shown before the rest is unfolded
const DIFFERENCES = 3; // differences of a system that are shown beside its name

export default widget(({ root, content, request, signal }) => {
  const { systems, sentences } = content;
  const beside = h("div", { class: "tk-det-beside" });
  const status = h("div", { class: "tk-error", role: "status" });
  // A reply that arrives after another request was made is dropped.
  const requestLatest = latest(request);
  const load = async (command, args, draw) => {
    root.setAttribute("aria-busy", "true");
    try {
      const result = await requestLatest(command, args);
      status.textContent = "";
      draw(result);
    } catch (error) {
      status.textContent = error.message;
    }
    root.removeAttribute("aria-busy");
  };

  const detail = new ForkDetail(request, signal);
  const list = new ForkList({ systems, load, detail, signal });
  const open = (cell) => {
    const { a, b, words, components, survival } = cell;
    for (const button of matrix.querySelectorAll(".tk-det-cell"))
      button.setAttribute("aria-pressed", `${button.dataset.cell === `${a},${b}`}`);
    list.close();
    beside.replaceChildren(h("div", {},
      h("h4", {}, pairName(systems, a, b)),
      words && h("p", { class: "tk-det-words" }, words),
      components.length > 0 && componentTable(components),
      survivalChart(survival)));
    list.draw(cell, a, b);
  };
  const matrix = matrixTable(content, (a, b) => load("cell", { a, b }, open));
  const size = systems.length;
  root.addEventListener("keydown", (event) => {
    const prompt = list.expanded;
    if (event.key !== "Escape" || !prompt || event.defaultPrevented) return;
    list.close();
    prompt.focus();
  }, { signal });
  rovingFocus(matrix, ".tk-det-cell", signal, { ArrowRight: 1, ArrowLeft: -1, ArrowDown: size, ArrowUp: -size }).reset();

  root.append(findings(sentences), settingsTable(content.settings),
    h("div", { class: "tk-det-top" }, h("div", { class: "tk-det-scroll" }, matrix), beside), status, list.box, detail.box);
  open(content.opened);
});

// A share below 1 is not rounded up to 100 %.
const shareText = (p) => (p < 1 && p > 0.9995 ? "> 99.9 %" : percent(p));
const nats = (x) => (x === null ? "not known" : `${number(x)} nats`);
const pairName = (systems, a, b) => (a === b ? `within ${systems[a]}` : `${systems[a]} and ${systems[b]}`);
const tokenCode = (text) => h("code", { class: "tk-det-token tk-said" }, text === "" ? "(nothing)" : text);

function findings(sentences) {
  const items = (texts) => h("ul", {}, texts.map((text) => h("li", {}, text)));
  const hidden = sentences.length - SENTENCES;
  return h("div", { class: "tk-det-findings" }, items(sentences.slice(0, SENTENCES)),
    hidden > 0 && h("details", {}, h("summary", {}, plural(hidden, "more finding")), items(sentences.slice(SENTENCES))));
}

// A row for each setting, then for all of a system; empty if there is one setting. A column's meaning is its tip.
function settingsTable({ columns, meanings, rows }) {
  if (!columns) return "";
  const heads = columns.map((name, i) => h("th", { scope: "col", title: meanings[i] }, name));
  const explained = columns.flatMap((name, i) => (meanings[i] ? [h("b", {}, name), ` ${meanings[i]}; `] : []));
  return h("div", { class: "tk-det-settings" },
    h("div", { class: "tk-det-scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, heads)),
      h("tbody", {}, rows.map(([setting, ...cells]) =>
        h("tr", {}, h("th", { scope: "row" }, setting), cells.map((cell) => h("td", {}, cell))))))),
    h("details", {}, h("summary", {}, "what the columns say"), h("p", {}, explained)));
}

// The matrix of all pairs of systems. open(a, b) is called with the lower index first.
function matrixTable(content, open) {
  const { systems, differences } = content;
  const columns = systems.map((name) => h("th", { scope: "col", title: name }, h("span", {}, name)));
  const rowHead = (name, a) => {
    const hidden = differences[a].length - DIFFERENCES;
    return h("th", { scope: "row", title: name }, h("span", {}, name),
      differences[a].slice(0, DIFFERENCES).map((part) => h("small", {}, part)),
      hidden > 0 && h("small", {}, `and ${hidden} more`));
  };
  const pooled = content.settings.columns ? "all settings together, " : "";
  const axis = h("span", { class: "tk-faint" }, ` · ${pooled}by ${content.across}, on the diagonal two of one`);
  return h("table", { class: "tk-det-matrix" },
    h("caption", {}, "How often two runs agree", axis),
    h("thead", {}, h("tr", {}, h("td", {}), columns)),
    h("tbody", {}, systems.map((name, a) =>
      h("tr", {}, rowHead(name, a), systems.map((_, b) => matrixCell(content, Math.min(a, b), Math.max(a, b), open))))));
}

function matrixCell({ systems, cells }, a, b, open) {
  // The cells of the upper triangle, row by row.
  const [agreement, requests, forked] = cells[a * systems.length - (a * (a - 1)) / 2 + (b - a)];
  const share = requests ? shareText(agreement) : "–";
  const count = requests ? `${number(forked)} of ${number(requests)} fork` : a === b ? "single runs" : "none in common";
  return h("td", {}, h("button", {
    class: `tk-det-cell${forked ? " tk-det-forks" : ""}`, "data-cell": `${a},${b}`, "aria-pressed": "false", tabindex: -1,
    "aria-label": `${pairName(systems, a, b)}: ${share} of pairs of runs agree, ${count}`,
    style: { "--share": requests ? agreement ?? 0 : 0 }, onclick: () => open(a, b),
  }, h("b", {}, share), h("span", {}, count)));
}

function componentTable(rows) {
  const head = ["component", "what it is", "here", "there"].map((name) => h("th", { scope: "col" }, name));
  return h("table", { class: "tk-det-parts" }, h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, rows.map(([name, description, here, there]) =>
      h("tr", {}, h("td", {}, name), h("td", { class: "tk-faint" }, description), h("td", {}, here), h("td", {}, there)))));
}

// points: [step, share, low, high] of the survival curve.
function survivalChart(points) {
  if (!points.length)
    return h("p", { class: "tk-faint" }, "No pair of runs whose tokens are known: no curve of survival.");
  // The share holds until the next token: a step function.
  const steps = (column) => points.flatMap((p, i) =>
    i ? [[p[0], points[i - 1][column]], [p[0], p[column]]] : [[p[0], p[column]]]);
  const [tokens, share, low] = points.at(-1);
  const interval = low === null ? [] : [
    { name: "95 % interval, over requests", line: true, mark: 5, points: steps(2) },
    { name: "", line: true, mark: 5, points: steps(3) },
  ];
  const series = [...interval, { name: "pairs of runs", line: true, mark: 0, points: steps(1) }];
  const still = `${shareText(share)} of the pairs are still equal (Kaplan and Meier).`;
  return h("div", {},
    chart({ series, x: "tokens", y: "share still equal", height: 200 }),
    h("p", { class: "tk-faint" }, `After ${plural(tokens, "token")} ${still}`));
}

// The forks of a cell, page by page, and the one that is open in the detail.
class ForkList {
  constructor({ systems, load, detail, signal }) {
    Object.assign(this, { systems, load, detail, signal });
    this.box = h("section", { class: "tk-det-list" });
  }

  // The button of the prompt whose fork is open, or null.
  get expanded() {
    return this.box.querySelector("[aria-expanded=true]");
  }

  close() {
    this.detail.close();
    this.expanded?.setAttribute("aria-expanded", "false");
  }

  draw(page, a, b) {
    const { forks, total } = page;
    const where = a === b ? pairName(this.systems, a, b) : "here";
    const title = h("h4", {}, total ? `Prompts that fork ${where}: ${number(total)}` : "No prompt forks here");
    const bound = "The commonest outputs are the same. That they always are is not proved by this: see the bounds above.";
    if (!total) return this.box.replaceChildren(title, h("p", { class: "tk-faint" }, bound));
    const { systems } = this;
    const heads = ["prompt", "token", a === b ? "one run" : systems[a], a === b ? "another run" : systems[b], "margin, nats", "runs"];
    const table = h("table", { class: "tk-det-forks-table" },
      h("thead", {}, h("tr", {}, heads.map((name, i) =>
        h("th", { scope: "col", class: i === 1 || i > 3 ? "tk-number" : "", title: name }, h("span", {}, name))))),
      h("tbody", {}, forks.map((fork) => this.row(fork, a, b))));
    this.box.replaceChildren(title, table, ...this.pager(page, a, b));
    rovingFocus(table, ".tk-det-prompt", this.signal).reset();
  }

  pager({ forks, total, page, size }, a, b) {
    const last = Math.ceil(total / size) - 1;
    if (last <= 0) return [];
    const turn = (next) => this.load("forks", { a, b, page: next }, (result) => {
      this.close();
      this.draw(result, a, b);
      const buttons = [...this.box.querySelectorAll(".tk-det-pager button")];
      if (next < page) buttons.reverse();
      buttons.findLast((button) => !button.disabled).focus();
    });
    return [h("div", { class: "tk-bar tk-det-pager" },
      h("button", { disabled: page === 0, onclick: () => turn(page - 1) }, "‹ before"),
      `${number(page * size + 1)} to ${number(page * size + forks.length)} of ${number(total)}`,
      h("button", { disabled: page === last, onclick: () => turn(page + 1) }, "next ›"))];
  }

  row(fork, a, b) {
    const token = (text) => fork.step === null ? h("span", { class: "tk-faint" }, "other text")
      : text === null ? h("i", {}, "the end") : tokenCode(text);
    const onclick = () => this.load("fork", { row: fork.row }, (result) => {
      this.close();
      button.setAttribute("aria-expanded", "true");
      this.detail.open(result, fork, a === b ? ["one run", "another run of it"] : [this.systems[a], this.systems[b]]);
    });
    const button = h("button", {
      class: "tk-det-prompt", title: fork.prompt, "aria-expanded": "false", tabindex: -1, onclick,
    }, h("span", { class: "tk-said" }, fork.prompt));
    return h("tr", {},
      h("td", {}, button, fork.settings && h("small", { class: "tk-faint" }, fork.settings)),
      h("td", { class: "tk-number" }, number(fork.step)),
      fork.tokens.map((text) => h("td", {}, token(text))),
      h("td", { class: "tk-number" }, fork.margins.map((margin) => h("div", {}, number(margin)))),
      h("td", { class: "tk-number" }, fork.runs.map(([some, all]) => h("div", {}, `${some} of ${all}`))));
  }
}

// Both answers of a fork, aligned at it, and the candidate tokens of each.
class ForkDetail {
  constructor(request, signal) {
    this.request = request;
    this.box = h("section", { class: "tk-det-fork", "aria-label": "both answers" });
    this.closing = new AbortController();
    signal.addEventListener("abort", () => this.closing.abort());
  }

  close() {
    this.closing.abort();
    this.box.replaceChildren();
  }

  open(answers, fork, names) {
    this.closing = new AbortController();
    const heads = names.map((name, i) => {
      const [some, all] = fork.runs[i];
      return h("header", {}, h("b", {}, name), ` · ${some} of ${plural(all, "run")} say this`);
    });
    this.box.append(h("div", { class: "tk-said tk-det-asked" }, fork.prompt),
      ...(answers.why ? this.unaligned(answers, heads) : this.aligned(answers, fork, names, heads)));
    if (!answers.why) this.box.scrollIntoView({ block: "nearest" });
  }

  // Answers whose tokens are not known.
  unaligned({ why, texts }, heads) {
    return [h("p", { class: "tk-faint" }, why), h("div", { class: "tk-det-sides" }, texts.map((text, i) =>
      h("article", {}, heads[i], h("div", { class: "tk-said tk-code" }, text))))];
  }

  aligned(answers, fork, names, heads) {
    const shared = answers.totals[0] > 0 && h("div", { class: "tk-det-shared" },
      h("header", {}, h("b", {}, "both"), ` · ${plural(answers.at, "shared token")}`),
      this.tokens(answers, fork.row, 0, "what both say"));
    const rest = (i) => answers.totals[i + 1] ? this.tokens(answers, fork.row, i + 1, `how ${names[i]} goes on`)
      : h("p", {}, h("mark", { class: "tk-det-end" }, "ends here"));
    return [
      h("p", {}, forkFacts(answers)), ...(shared ? [shared] : []),
      h("div", { class: "tk-det-sides" }, [0, 1].map((i) => h("article", {}, heads[i], rest(i)))),
      h("p", { class: "tk-faint" }, "Marked: the token at which they part. Dimmed: what both say."),
      candidateComparison(answers, names),
    ];
  }

  // The tokens of the shared part (side 0), or of what follows in an answer (1 or 2).
  tokens(answers, row, side, label) {
    const pieces = side ? answers.after[side - 1] : answers.shared;
    const markSame = (added, first) => added.forEach((piece, i) => piece.same && tokens.mark(first + i, "same"));
    const tokens = tokenRow(pieces, {
      signal: this.closing.signal, label, total: answers.totals[side],
      tip: (i) => pieceFacts(pieces[i]),
      more: async (first) => {
        const next = await this.request("pieces", { row, side, first });
        markSame(next, first);
        return next;
      },
    });
    markSame(pieces, 0);
    if (side) tokens.mark(0, "fork");
    return tokens;
  }
}

function forkFacts({ at, margins: [a, b], drift, near_ties: nearTies }) {
  return [
    `Token ${number(at)} is the first that differs. `,
    `Margin of the best token over the second there: ${nats(a)} and ${nats(b)}. `,
    drift === null ? "" : `Largest drift of a log probability before it: ${nats(drift)}. `,
    nearTies === null ? ""
      : `Near ties, where such a drift can turn the choice: ${percent(nearTies)} of the shared tokens.`,
  ];
}

function pieceFacts({ step, values, rank }) {
  return h("span", {},
    `token ${number(step)}`,
    values.probability === null ? "" : ` · probability ${percent(values.probability, 2)}`,
    rank === null ? "" : ` · rank ${number(rank)}`);
}

// Both lists of likely tokens: a's bars to the left, b's to the right, the tokens between them.
function candidateComparison({ candidates, listed }, names) {
  const probabilities = candidates.flatMap((row) => row.logprobs).filter((p) => p !== null).map(Math.exp);
  if (!probabilities.length)
    return h("p", { class: "tk-faint" }, "What each had to choose from is not known: ask with top_logprobs.");
  const highest = Math.max(...probabilities);
  const side = (row, i) => candidateBar(row.logprobs[i], row.taken === "ab"[i], i, { highest, listed: listed[i] });
  return h("table", { class: "tk-det-candidates" },
    h("caption", {}, "What each had to choose from: probability of each token"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "tk-number" }, names[0]),
      h("th", { scope: "col" }, "token"), h("th", { scope: "col" }, names[1]))),
    h("tbody", {}, candidates.map((row) => h("tr", { class: row.taken ? "tk-det-chosen" : "" },
      side(row, 0), h("td", {}, tokenCode(row.text)), side(row, 1)))));
}

function candidateBar(logprob, taken, i, { highest, listed }) {
  const p = logprob === null ? null : Math.exp(logprob);
  const bar = h("span", { class: `tk-det-bar${p === null ? " tk-det-missing" : ""}` },
    p !== null && h("span", { style: { width: `${(100 * p) / highest}%` } }));
  const value = p !== null ? h("span", {}, percent(p, 2))
    : h("span", { class: "tk-faint" }, listed ? `not in its ${listed}` : "not known");
  const mark = h("span", { class: "tk-det-taken" }, taken ? "taken" : "");
  const parts = i ? [bar, value, mark] : [mark, value, bar];
  return h("td", { class: `tk-det-side-${i}` }, h("div", { class: "tk-det-half" }, parts));
}
