// CompletionView: the prompt, each choice, how it ended, and the facts; as text or token by token.
export default widget(({ root, content, request, signal }) => {
  const error = [
    h("p", { class: "tk-badge tk-wrong" }, "✕ error"), h("div", { class: "tk-error tk-said" }, content.error)];
  const choices = content.choices.map((choice) => choiceSection(choice, content.choices.length));
  const answers = h("div", {}, content.error ? error : choices);
  const facts = content.facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  const tokens = h("div", { hidden: true }), problem = h("p", { class: "tk-error", role: "alert" });
  const toggle = content.tokens && !content.error
    && textOrTokens({ answers, tokens, problem, load: () => request("tokens"), request, signal });
  root.append(h("div", { class: "tk-completion" }, requestDetails(content.request), toggle, problem, answers, tokens,
    h("dl", { class: "tk-about" }, facts)));
});

// Two buttons: the choices as text, or token by token, which are loaded when they are first shown.
function textOrTokens({ answers, tokens, problem, load, request, signal }) {
  let loading = null;
  const show = async (kind) => {
    for (const button of bar.querySelectorAll("button")) button.ariaPressed = `${button.dataset.show === kind}`;
    if (kind === "tokens")
      loading ??= load().then((content) => logprobsView({ root: tokens, content, request, signal }));
    try {
      await loading;
    } catch (error) {
      loading = null;
      problem.textContent = error.message;
      return;
    }
    answers.hidden = kind === "tokens";
    tokens.hidden = !answers.hidden;
  };
  const bar = h("div", { class: "tk-choices", role: "group", "aria-label": "show as" }, ["text", "tokens"].map((kind) =>
    h("button", { "data-show": kind, "aria-pressed": `${kind === "text"}`, onclick: () => show(kind) }, kind)));
  return h("div", { class: "tk-bar" }, bar);
}

function requestDetails({ title, turns }) {
  const last = turns.findLast((turn) => turn.role === "user" || turn.role === "prompt");
  const beginning = last && h("span", { class: "tk-faint" }, `: ${last.text.replaceAll("\n", " ").slice(0, 200)}`);
  return h("details", { class: "tk-asked" }, h("summary", {}, title, beginning),
    turns.map(({ role, text, images = [] }) => h("div", { class: "tk-turn", "data-role": role },
      h("span", { class: "tk-faint" }, role), h("div", { class: "tk-said" }, text),
      images.map((url) => h("img", { src: url, alt: "image of the message" })))));
}

function choiceSection(choice, count) {
  const ending = { length: "✂ length" }[choice.finish_reason] ?? choice.finish_reason;
  const text = (choice.text || !choice.calls.length) && h("div", {
    class: "tk-said tk-scrolled", tabindex: "0", role: "region", "aria-label": `answer ${choice.index + 1}`,
  }, choice.text || h("span", { class: "tk-faint" }, "(no text)"));
  return h("section", { class: "tk-answer" }, text,
    choice.calls.map((call) => h("div", { class: "tk-call" },
      h("span", { class: "tk-code" }, "→ ", h("b", {}, call.name), `(${call.arguments})`), verdictBadge(call.verdict))),
    h("div", { class: "tk-ended" },
      count > 1 && h("span", { class: "tk-faint" }, `choice ${choice.index + 1} of ${count}`),
      h("span", { class: "tk-badge" }, ending),
      choice.stop_reason && h("span", { class: "tk-faint" }, "at ", h("span", { class: "tk-code" }, choice.stop_reason)),
      choice.verdict && verdictBadge(choice.verdict)));
}

const verdictBadge = ({ status, valid, message }) => [
  h("span", { class: `tk-badge ${valid ? "tk-right" : "tk-wrong"}` }, `${valid ? "✓" : "✕"} ${status}`),
  message ? h("span", { class: "tk-faint tk-why" }, message) : null,
];
