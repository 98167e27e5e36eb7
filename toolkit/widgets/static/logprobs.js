// The view of texts token by token, used by LogprobsView and CompletionView.
function logprobsView({ root, content, request, signal }) {
  const facts = h("p", { class: "tk-faint tk-facts" }), notice = h("p", { class: "tk-notice" });
  const place = h("div"), key = h("div"), bars = h("div");
  const span = h("div", { class: "tk-span", role: "status", "aria-live": "polite" });
  let by = content.by[0], text = content.text, row = null;

  const measures = h("div", { class: "tk-choices", role: "group", "aria-label": "colour by" }, content.by.map((name) =>
    h("button", { "data-by": name, "aria-pressed": `${name === by}`, onclick: () => colour(name) }, name)));
  const colour = (name) => {
    by = name;
    for (const button of measures.children) button.setAttribute("aria-pressed", `${button.dataset.by === by}`);
    row.colour(by);
    key.replaceChildren(colourLegend(by));
  };
  const showSpan = (first, last) => span.replaceChildren(...(first === null
    ? [h("span", { class: "tk-faint" }, "Drag over tokens, or Shift and arrows, for the probability of a span.")]
    : jointProbability(text.pieces.slice(first, last + 1))));
  const draw = () => {
    const page = text; // its pieces may arrive after another text was picked
    row = tokenRow(page.pieces, {
      signal, label: `tokens of text ${page.number + 1}`, total: page.total, onselect: showSpan,
      tip: (i) => pieceTable(page.pieces[i], page),
      more: (first) => request("pieces", { number: page.number, first }),
    });
    place.replaceChildren(row);
    facts.replaceChildren(...factsOf(page));
    notice.textContent = page.notice;
    notice.hidden = !page.notice;
    bars.replaceChildren(surprisalBars(page));
    showSpan(null);
    colour(by);
  };
  const load = latest((number) => request("text_content", { number }));
  const pick = async (number) => {
    try {
      text = await load(number);
    } catch (error) {
      return facts.replaceChildren(h("span", { class: "tk-error" }, error.message));
    }
    draw();
  };

  const colourBy = h("span", { class: "tk-field" }, h("span", {}, "colour by"), measures);
  root.append(h("div", { class: "tk-logprobs" },
    h("div", { class: "tk-bar" }, textPicker(content, pick), colourBy), facts, notice, place, key, bars, span));
  draw();
}

// The picker of a text: none for one text, by first words for some, by number for many.
function textPicker({ names, count }, pick) {
  if (count === 1) return null;
  const byNumber = count > names.length, low = byNumber ? 1 : 0;
  const step = (by) => () => {
    const value = +box.value + by;
    if (value < low || value >= low + count) return;
    box.value = value;
    pick(value - low);
  };
  const box = byNumber
    ? h("input", { type: "number", min: "1", max: `${count}`, value: "1", onchange: () => pick(+box.value - 1) })
    : select(names.map((name, i) => [`${i}`, `${i + 1}: ${name}`]), "0", (value) => pick(+value));
  return h("span", { class: "tk-picker" }, field("text", box, byNumber ? `of ${count.toLocaleString("en")}` : null),
    h("button", { "aria-label": "previous text", onclick: step(-1) }, "◂"),
    h("button", { "aria-label": "next text", onclick: step(1) }, "▸"));
}

function factsOf(text) {
  const facts = [
    plural(text.tokens, "token"), `ln p of the whole ${number(text.sequence_logprob)}`,
    text.perplexity === null ? null : `perplexity ${number(text.perplexity)}`,
    text.unknown ? `${plural(text.unknown, "token")} of unknown probability` : null,
  ];
  return [facts.filter(Boolean).join(" · "), " · ", h("span", {}, text.mode ?? "mode unknown", ` (${text.means})`)];
}

// The tooltip of a piece, which is mostly one token.
const MAX_CANDIDATES = 12, MAX_CANDIDATES_OF_SEVERAL = 3;
function pieceTable(piece, text) {
  const rows = piece.tokens.length === 1 ? MAX_CANDIDATES : MAX_CANDIDATES_OF_SEVERAL;
  return h("div", { class: "tk-token" }, piece.tokens.map((token) => tokenTable(token, text, rows)));
}

function tokenTable(token, text, rows) {
  const { logprob, surprisal, margin, entropy_low: low, entropy_high: high } = token;
  const pairs = [
    ["probability", logprob === null ? "not known" : percent(Math.exp(logprob), 2)],
    ["rank", number(token.rank)],
    // + 0: a surprisal of -0 is shown as 0.
    ["surprisal", surprisal === null ? "–" : `${number(surprisal + 0)} nats (${number(surprisal / Math.LN2)} bits)`],
    ["margin", margin === null ? "–" : `${number(margin)} nats`],
    ["entropy", low === null ? "–" : `${number(low)} to ${high === null ? "?" : number(high)} nats`],
    ["missing mass", percent(token.missing_mass, 2)],
    ...(text.constrained ? grammarFacts(token) : []),
  ];
  return h("section", {},
    h("div", { class: "tk-token-head" }, h("b", { class: "tk-code" }, token.text || "␀"),
      h("span", { class: "tk-faint" }, `token ${token.at}, id ${token.id}, `,
        h("span", { class: "tk-code" }, token.bytes), token.given ? ", given" : "")),
    h("dl", { class: "tk-pairs" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    candidateTable(token, rows));
}

function grammarFacts({ removed, allowed, top }) {
  const count = allowed === null ? `${top.length || 1} tokens or more`
    : allowed === 1 ? "this token alone" : `${allowed} tokens`;
  return [["removed mass", removed === null ? "not known" : percent(removed, 2)], ["allowed", count]];
}

// The most likely tokens; where the probabilities without the grammar are known, both, in the order without it.
function candidateTable(token, rows) {
  if (!token.top.length) return h("p", { class: "tk-faint" }, "no other tokens were asked for: top_logprobs");
  const free = token.top.some((candidate) => candidate.free !== undefined);
  const all = free ? [...token.top].sort((a, b) => (b.free ?? b.p) - (a.free ?? a.p)) : token.top;
  // The chosen token is listed, however unlikely it was.
  const place = all.findIndex((candidate) => candidate.id === token.id);
  const listed = all.filter((_, i) => i < rows || i === place);
  const beyond = place < 0 && token.logprob !== null
    ? [{ id: token.id, text: token.text, p: Math.exp(token.logprob) }] : [];
  const heading = (name, numeric) => h("th", { class: numeric && "tk-number" }, name);
  const head = free && h("tr", {}, heading(), heading("token"), heading(), heading("without", true),
    heading("with grammar", true));
  const hidden = all.length - listed.length;
  const more = hidden > 0
    && h("tr", {}, h("td"), h("td", { colspan: "4", class: "tk-faint" }, `and ${hidden} more`));
  const rest = token.missing_mass > 0 && !free && h("tr", { class: "tk-rest" }, h("td"), h("td", {}, "all others"),
    h("td", { class: "tk-bars" }, h("i", { style: barWidth(token.missing_mass) })),
    h("td", { class: "tk-number" }, percent(token.missing_mass, 2)));
  return h("table", { class: "tk-top" }, head,
    [...listed, ...beyond].map((candidate) => candidateRow(candidate, candidate.id === token.id, free)), more, rest);
}

function candidateRow({ id, text, p, free, struck }, chosen, withFree) {
  return h("tr", { class: [chosen ? "tk-own" : "", struck ? "tk-struck" : ""].join(" ").trim() || null },
    h("td", {}, chosen ? "▸" : struck ? "✕" : ""),
    h("td", { class: "tk-code" }, h(struck ? "s" : "span", {}, text || `id ${id}`)),
    h("td", { class: "tk-bars" }, h("i", { style: barWidth(free ?? p) }),
      withFree && !struck ? h("i", { class: "tk-after", style: barWidth(p) }) : null),
    withFree && h("td", { class: "tk-number" }, percent(free, 2)),
    h("td", { class: "tk-number" }, struck ? "struck out" : p === null ? "not known" : percent(p, 2)));
}

const barWidth = (p) => ({ width: `${Math.min(100, 100 * (p ?? 0)).toFixed(1)}%` });

// The joint probability of a span: the product, in log space.
function jointProbability(pieces) {
  const tokens = pieces.flatMap((piece) => piece.tokens);
  const measured = tokens.filter((token) => token.logprob !== null);
  const text = pieces.map((piece) => piece.text.replaceAll("\n", "⏎")).join("");
  const count = plural(tokens.length, "token");
  const head = h("div", { class: "tk-said" }, text.slice(0, 500));
  if (!measured.length) return [head, `${count} of unknown probability`];
  const sum = measured.reduce((total, token) => total + token.logprob, 0);
  const least = measured.reduce((a, b) => (b.logprob < a.logprob ? b : a));
  const unknown = tokens.length - measured.length;
  return [head,
    `${count}${unknown ? `, ${unknown} of unknown probability` : ""} · joint probability `,
    h("b", {}, smallProbability(Math.exp(sum))), ` (ln p ${number(sum + 0)}) · least probable `,
    h("b", { class: "tk-code" }, least.text || `id ${least.id}`), ` ${percent(Math.exp(least.logprob), 2)}`];
}

const smallProbability = (p) =>
  p >= 0.001 ? percent(p, 2) : p > 0 ? p.toExponential(1).replace("e-", " · 10^−") : "under 10^−300";

function surprisalBars({ bars, tokens }) {
  if (bars.length < 2) return "";
  // The scale is at least 1 nat, so that bars stay low in a text without surprises.
  const highest = Math.max(1, ...bars.map((x) => x ?? 0));
  const height = 36, each = tokens / bars.length;
  const bar = (x) => ((height * x) / highest).toFixed(2);
  const d = bars.map((x, i) => (x ? `M${i} ${height}v${bar(-x)}h.8v${bar(x)}z` : "")).join("");
  const unit = each > 1 ? `each ${Math.ceil(each)} tokens, the highest` : "each token";
  const label = `surprisal of ${unit}, 0 to ${number(highest)} nats`;
  const picture = svg("svg", {
    viewBox: `0 0 ${bars.length} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label,
    width: `${Math.min(100, bars.length * 1.2)}%`, height,
  }, svg("path", { d }));
  return h("figure", { class: "tk-surprisal" }, picture, h("figcaption", { class: "tk-faint" }, label));
}
