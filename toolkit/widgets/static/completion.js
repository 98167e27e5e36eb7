export default widget(({ root, content, ask, signal }) => {
  const answers = h("div", {}, content.error ? [h("p", { class: "tk-badge tk-wrong" }, "✕ error"), h("div", { class: "tk-error tk-said" }, content.error)]
    : content.choices.map((choice) => choiceOf(choice, content.choices.length)));
  const tokens = h("div", { hidden: true }), error = h("p", { class: "tk-error", role: "alert" });
  const facts = h("dl", { class: "tk-about" }, content.facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  root.append(h("div", { class: "tk-completion" }, askedOf(content.asked), content.tokens && !content.error ? switched() : null, error, answers, tokens, facts));

  function switched() {
    let drawn = null;
    const show = async (what) => {
      for (const one of bar.querySelectorAll("button")) one.setAttribute("aria-pressed", `${one.dataset.show === what}`);
      if (what === "tokens") drawn ??= ask("tokens").then((told) => logprobsView({ root: tokens, content: told, ask, signal }));
      try { await drawn; } catch (e) { drawn = null; error.textContent = e.message; return; }
      answers.hidden = what === "tokens";
      tokens.hidden = !answers.hidden;
    };
    const bar = h("div", { class: "tk-choices", role: "group", "aria-label": "show as" }, ["text", "tokens"].map((name) =>
      h("button", { "data-show": name, "aria-pressed": `${name === "text"}`, onclick: () => show(name) }, name)));
    return h("div", { class: "tk-bar" }, bar);
  }
});

function askedOf({ title, turns }) {
  const last = turns.findLast((turn) => turn.role === "user" || turn.role === "prompt");
  return h("details", { class: "tk-asked" },
    h("summary", {}, title, last ? h("span", { class: "tk-faint" }, `: ${last.text.replaceAll("\n", " ").slice(0, 200)}`) : null),
    turns.map((turn) => h("div", { class: "tk-turn", "data-role": turn.role }, h("span", { class: "tk-faint" }, turn.role), h("div", { class: "tk-said" }, turn.text),
      (turn.images ?? []).map((url) => h("img", { src: url, alt: "image of the message" })))));
}

function choiceOf(choice, count) {
  const ended = { length: "✂ length" }[choice.finish_reason] ?? choice.finish_reason;
  return h("section", { class: "tk-answer" },
    choice.text || !choice.calls.length ? h("div", { class: "tk-said tk-scrolled", tabindex: "0", role: "region", "aria-label": `answer ${choice.index + 1}` }, choice.text || h("span", { class: "tk-faint" }, "(no text)")) : null,
    choice.calls.map((call) => h("div", { class: "tk-call" }, h("span", { class: "tk-code" }, "→ ", h("b", {}, call.name), `(${call.arguments})`), badge(call.verdict))),
    h("div", { class: "tk-ended" }, count > 1 ? h("span", { class: "tk-faint" }, `choice ${choice.index + 1} of ${count}`) : null,
      h("span", { class: "tk-badge" }, ended), choice.stop_reason ? h("span", { class: "tk-faint" }, "at ", h("span", { class: "tk-code" }, choice.stop_reason)) : null,
      choice.verdict ? badge(choice.verdict) : null));
}

const badge = ({ status, valid, told }) => [
  h("span", { class: `tk-badge ${valid ? "tk-right" : "tk-wrong"}` }, `${valid ? "✓" : "✕"} ${status}`),
  told ? h("span", { class: "tk-faint tk-why" }, told) : null,
];
