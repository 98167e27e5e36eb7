// The view of texts token by token, used by LogprobsView and CompletionView.
function logprobsView({ root, content, ask, signal }) {
  const box = h("div", { class: "tk-logprobs" });
  const facts = h("p", { class: "tk-faint tk-facts" });
  const notice = h("p", { class: "tk-notice" });
  const place = h("div"), key = h("div"), bars = h("div");
  const span = h("div", { class: "tk-span", role: "status", "aria-live": "polite" });
  let by = content.by[0], text = content.text, row = null;

  const measures = h("div", { class: "tk-choices", role: "group", "aria-label": "colour by" }, content.by.map((name) =>
    h("button", { "data-by": name, "aria-pressed": `${name === by}`, onclick: () => colour(name) }, name)));
  const colour = (name) => {
    by = name;
    for (const one of measures.children) one.setAttribute("aria-pressed", `${one.dataset.by === by}`);
    row.colour(by);
    key.replaceChildren(stripKey(by));
  };

  const asked = latest(ask);
  const pick = async (number) => {
    try { text = await asked("text", { number }); } catch (error) { return facts.replaceChildren(h("span", { class: "tk-error" }, error.message)); }
    show();
  };
  const show = () => {
    const shown = text;
    row = strip(shown.pieces, {
      signal, label: `tokens of text ${shown.number + 1}`, total: shown.total, onselect: told,
      fill: (i) => pieceTable(shown.pieces[i], shown),
      more: (first) => ask("pieces", { number: shown.number, first }),
    });
    place.replaceChildren(row);
    facts.replaceChildren(...factsOf(shown));
    notice.textContent = shown.notice;
    notice.hidden = !shown.notice;
    bars.replaceChildren(surprisalBars(shown));
    told(null);
    colour(by);
  };
  const told = (first, last) => span.replaceChildren(...(first === null
    ? [h("span", { class: "tk-faint" }, "Drag over tokens, or Shift and arrows, for the probability of a span.")]
    : jointOf(text.pieces.slice(first, last + 1))));

  box.append(h("div", { class: "tk-bar" }, picker(content, pick), h("span", { class: "tk-field" }, h("span", {}, "colour by"), measures)),
    facts, notice, place, key, bars, span);
  root.append(box);
  show();
}

// The picker of a text: none for one text, by first words for some, by number for many.
function picker({ names, count }, pick) {
  if (count === 1) return null;
  const step = (by) => () => { const to = +box.value + by; if (to >= low && to < low + count) { box.value = to; pick(to - low); } };
  const many = count > names.length, low = many ? 1 : 0;
  const box = many
    ? h("input", { type: "number", min: "1", max: `${count}`, value: "1", onchange: () => pick(+box.value - 1) })
    : select(names.map((name, i) => [`${i}`, `${i + 1}: ${name}`]), "0", (value) => pick(+value));
  return h("span", { class: "tk-picker" }, field("text", box, many ? `of ${count.toLocaleString("en")}` : null),
    h("button", { "aria-label": "previous text", onclick: step(-1) }, "◂"),
    h("button", { "aria-label": "next text", onclick: step(1) }, "▸"));
}

function factsOf(text) {
  const lines = [
    `${text.tokens.toLocaleString("en")} ${text.tokens === 1 ? "token" : "tokens"}`, `ln p of the whole ${number(text.sequence_logprob)}`,
    text.perplexity === null ? null : `perplexity ${number(text.perplexity)}`,
    text.unknown ? `${text.unknown.toLocaleString("en")} ${text.unknown === 1 ? "token" : "tokens"} of unknown probability` : null,
  ];
  return [lines.filter(Boolean).join(" · "), " · ", h("span", {}, text.mode ?? "mode unknown", ` (${text.means})`)];
}

// The tooltip of a piece, which is mostly one token.
const ROWS = 12;
function pieceTable(piece, text) {
  const alone = piece.tokens.length === 1;
  return h("div", { class: "tk-token" }, piece.tokens.map((token) => tokenTable(token, text, alone ? ROWS : 3)));
}

function tokenTable(token, text, rows) {
  const pairs = [
    ["probability", token.logprob === null ? "not known" : percent(Math.exp(token.logprob), 2)],
    ["rank", number(token.rank)],
    ["surprisal", token.surprisal === null ? "–" : `${number(token.surprisal + 0)} nats (${number(token.surprisal / Math.LN2)} bits)`],
    ["margin", token.margin === null ? "–" : `${number(token.margin)} nats`],
    ["entropy", token.entropy_low === null ? "–" : `${number(token.entropy_low)} to ${token.entropy_high === null ? "?" : number(token.entropy_high)} nats`],
    ["missing mass", percent(token.missing_mass, 2)],
    text.constrained ? ["removed mass", token.removed === null ? "not known" : percent(token.removed, 2)] : null,
    text.constrained ? ["allowed", token.allowed === null ? `${token.top.length || 1} tokens or more` : token.allowed === 1 ? "this token alone" : `${token.allowed} tokens`] : null,
  ].filter(Boolean);
  return h("section", {},
    h("div", { class: "tk-token-head" }, h("b", { class: "tk-code" }, token.text || "␀"),
      h("span", { class: "tk-faint" }, `token ${token.at}, id ${token.id}, `, h("span", { class: "tk-code" }, token.bytes), token.given ? ", given" : "")),
    h("dl", { class: "tk-pairs" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    topTable(token, rows));
}

function topTable(token, rows) {
  if (!token.top.length) return h("p", { class: "tk-faint" }, "no other tokens were asked for: top_logprobs");
  const free = token.top.some((one) => one.free !== undefined);
  const list = free ? [...token.top].sort((a, b) => (b.free ?? b.p) - (a.free ?? a.p)) : token.top;
  // The chosen token is shown, however unlikely it was.
  const place = list.findIndex((one) => one.id === token.id);
  const shown = list.filter((_, i) => i < rows || i === place);
  const chosen = place < 0 && token.logprob !== null ? [{ id: token.id, text: token.text, p: Math.exp(token.logprob), beyond: true }] : [];
  const left = list.length - shown.length;
  const wide = (p) => ({ width: `${Math.min(100, 100 * (p ?? 0)).toFixed(1)}%` });
  const line = (one) => {
    const own = one.id === token.id;
    return h("tr", { class: [own ? "tk-own" : "", one.struck ? "tk-struck" : ""].join(" ").trim() || null },
      h("td", {}, own ? "▸" : one.struck ? "✕" : ""), h("td", { class: "tk-code" }, h(one.struck ? "s" : "span", {}, one.text || `id ${one.id}`)),
      h("td", { class: "tk-bars" }, h("i", { style: wide(one.free ?? one.p) }), free && !one.struck ? h("i", { class: "tk-after", style: wide(one.p) }) : null),
      free ? h("td", { class: "tk-number" }, one.free === undefined ? "–" : percent(one.free, 2)) : null,
      h("td", { class: "tk-number" }, one.struck ? "struck out" : one.p === null ? "not known" : percent(one.p, 2)));
  };
  const head = free ? h("tr", {}, h("th"), h("th", {}, "token"), h("th"), h("th", { class: "tk-number" }, "without"), h("th", { class: "tk-number" }, "with grammar")) : null;
  return h("table", { class: "tk-top" }, head, shown.map(line), chosen.map(line),
    left > 0 ? h("tr", {}, h("td"), h("td", { colspan: "4", class: "tk-faint" }, `and ${left} more`)) : null,
    token.missing_mass > 0 && !free ? h("tr", { class: "tk-rest" }, h("td"), h("td", {}, "all others"), h("td", { class: "tk-bars" }, h("i", { style: wide(token.missing_mass) })), h("td", { class: "tk-number" }, percent(token.missing_mass, 2))) : null);
}

// The joint probability of a span: the product, in log space.
function jointOf(pieces) {
  const tokens = pieces.flatMap((piece) => piece.tokens);
  const known = tokens.filter((token) => token.logprob !== null);
  const text = pieces.map((piece) => piece.text.replaceAll("\n", "⏎")).join("");
  const count = `${tokens.length} ${tokens.length === 1 ? "token" : "tokens"}`;
  const head = [h("div", { class: "tk-said" }, text.slice(0, 500))];
  if (!known.length) return [...head, `${count} of unknown probability`];
  const sum = known.reduce((total, token) => total + token.logprob, 0);
  const least = known.reduce((a, b) => (b.logprob < a.logprob ? b : a));
  const unknown = tokens.length - known.length;
  return [...head,
    `${count}${unknown ? `, ${unknown} of unknown probability` : ""} · joint probability `, h("b", {}, small(Math.exp(sum))), ` (ln p ${number(sum + 0)}) · least probable `,
    h("b", { class: "tk-code" }, least.text || `id ${least.id}`), ` ${percent(Math.exp(least.logprob), 2)}`];
}

const small = (p) => (p >= 0.001 ? percent(p, 2) : p > 0 ? p.toExponential(1).replace("e-", " · 10^−") : "under 10^−300");

function surprisalBars({ bars, tokens }) {
  if (bars.length < 2) return "";
  // The scale is at least 1 nat, so that bars stay low in a text without surprises.
  const highest = Math.max(1, ...bars.map((x) => x ?? 0));
  const high = 36, each = tokens / bars.length;
  const d = bars.map((x, i) => (x ? `M${i} ${high}v${(-high * x / highest).toFixed(2)}h.8v${(high * x / highest).toFixed(2)}z` : "")).join("");
  const told = `surprisal of ${each > 1 ? `each ${Math.ceil(each)} tokens, the highest` : "each token"}, 0 to ${number(highest)} nats`;
  return h("figure", { class: "tk-surprisal" },
    svg("svg", { viewBox: `0 0 ${bars.length} ${high}`, preserveAspectRatio: "none", role: "img", "aria-label": told, width: `${Math.min(100, bars.length * 1.2)}%`, height: high }, svg("path", { d })),
    h("figcaption", { class: "tk-faint" }, told));
}
