// The playground: messages on the left, settings on the right, the answer and the history below.
export default widget(async ({ root, content, ask, on, signal }) => {
  const roles = content.roles.map((role) => [role, role]);
  let turns = [], running = null, shown = null, history = content.history, chosen = [];

  // Errors are shown beside their cause.
  const places = new Map();
  const place = (name) => {
    const box = h("div", { class: "tk-error tk-play-error", role: "alert" });
    places.set(name, box);
    return box;
  };
  const wrong = (errors = {}) => {
    for (const box of places.values()) box.textContent = "";
    for (const [name, text] of Object.entries(errors)) (places.get(name) ?? places.get("run")).textContent = text;
  };
  const failed = (error) => wrong({ run: error.message });

  // Messages
  const editor = h("div", { class: "tk-play-turns" });
  const act = (label, sign, f, disabled) => h("button", { type: "button", "aria-label": label, title: label, disabled, onclick: f }, sign);
  // focus: names of the elements to focus, the first that can be.
  const drawTurns = (...focus) => {
    editor.replaceChildren(...turns.map(turnBox));
    const found = focus.map((name) => [...editor.querySelectorAll("[aria-label]")].find((one) => one.ariaLabel === name && !one.disabled));
    if (focus.length) (found.find((one) => one) ?? more).focus();
  };
  const textOf = (i) => `text of turn ${i + 1}`;
  const turnBox = (turn, i) => {
    const move = (by, sign, label) => act(`${label} turn ${i + 1}`, sign, () => {
      [turns[i], turns[i + by]] = [turns[i + by], turns[i]];
      drawTurns(`${label} turn ${i + by + 1}`, textOf(i + by));
      changed();
    }, !turns[i + by]);
    const text = h("textarea", {
      rows: 2, "aria-label": textOf(i), readOnly: !!turn.cut, placeholder: turn.role === "assistant" ? "" : "say something",
      title: turn.cut ? "too long to be edited here: it is sent whole, as it was given"
        : turn.kept !== undefined ? "holds characters that cannot be seen: it is sent as it was given, until it is edited" : null,
      oninput: () => { turn.text = text.value; delete turn.kept; changed(); } });
    text.value = turn.text;
    const role = select(roles, turn.role, (value) => { turn.role = value; box.dataset.role = value; changed(); });
    role.setAttribute("aria-label", `role of turn ${i + 1}`);
    const box = h("div", { class: "tk-play-turn", "data-role": turn.role },
      h("div", { class: "tk-play-head" }, role, h("span", { class: "tk-play-acts" },
        move(-1, "↑", "move up"), move(1, "↓", "move down"),
        act(`remove turn ${i + 1}`, "✕", () => { turns.splice(i, 1); drawTurns(textOf(Math.min(i, turns.length - 1))); changed(); }))),
      text, place(`messages[${i}]`));
    return box;
  };
  const add = () => {
    const last = turns.at(-1)?.role;
    turns.push({ role: last === "user" ? "assistant" : "user", text: "" });
    drawTurns(textOf(turns.length - 1));
    changed();
  };
  const more = h("button", { type: "button", onclick: add }, "+ add a turn");

  // Settings: names, ranges and neutral values come from Python.
  const model = h("span", { class: "tk-play-model" }, content.model);
  const models = select(content.models.map((name, i) => [`${i}`, name]), "0", () => changed()); // shown where there are several
  models.setAttribute("aria-label", "model");
  const inputs = new Map(); // name → { get, set }
  const setting = (one) => {
    const id = `tk-play-${one.name}-${Math.random().toString(36).slice(2)}`;
    const usual = one.kind === "lines" ? "what ends the text, one a line; \\n is a line's end" : one.neutral === null ? "" : `; when empty, the model's own, else ${one.neutral}`;
    const given = { id, title: `${one.fix}${usual}` };
    let box, slider = null;
    if (one.kind === "flag") {
      box = h("input", { ...given, type: "checkbox", onchange: () => changed() });
      inputs.set(one.name, { get: () => box.checked, set: (value) => (box.checked = value) });
    } else {
      box = one.kind === "lines"
        ? h("textarea", { ...given, rows: 1, placeholder: "one a line", oninput: () => changed() })
        : h("input", { ...given, type: "text", inputMode: "decimal", autocomplete: "off", placeholder: "auto",
          oninput: () => { follow(); changed(); } });
      if (one.kind === "real")
        slider = h("input", { type: "range", min: one.low, max: one.high, step: one.step, "aria-label": `${one.name}, slider`, title: given.title,
          oninput: () => { box.value = `${+(+slider.value).toFixed(3)}`; follow(); changed(); } });
      inputs.set(one.name, { get: () => box.value, set: (value) => { box.value = value; follow(); } });
    }
    const follow = () => {
      if (!slider) return;
      slider.value = box.value === "" ? one.neutral : box.value;
      slider.classList.toggle("tk-play-unset", box.value === "");
    };
    return [h("label", { for: id, title: given.title }, one.name), h("span", { class: `tk-play-${one.kind}` }, slider, box), place(one.name)];
  };
  const HINTS = { json_schema: '{"type": "object", "properties": {…}}', choice: "one choice a line", regex: "\\d{4}-\\d{2}", grammar: "EBNF or Lark" };
  const forms = new Map(); // the typed text for each kind
  const kind = select(content.kinds.map((one) => [one, { text: "text", json_object: "JSON mode", json_schema: "JSON Schema" }[one] ?? one]), "text",
    () => { formText.value = forms.get(kind.value) ?? ""; showForm(); changed(); });
  kind.setAttribute("aria-label", "response format");
  const formText = h("textarea", { rows: 3, spellcheck: false, "aria-label": "what the answer must be", oninput: () => { forms.set(kind.value, formText.value); changed(); } });
  const formNote = h("div", { class: "tk-faint tk-play-note" });
  const showForm = () => {
    formText.hidden = !(kind.value in HINTS);
    formText.placeholder = HINTS[kind.value] ?? "";
  };

  const draft = () => ({
    messages: turns.map(({ role, text, kept }) => ({ role, text, kept: kept ?? null })),
    sampling: Object.fromEntries([...inputs].map(([name, { get }]) => [name, get()])),
    form: { kind: kind.value, text: formText.hidden ? "" : formText.value },
    model: +models.value,
  });
  const restore = (given, ...focus) => {
    turns = given.messages.map((one) => ({ ...one }));
    for (const [name, { set }] of inputs) set(given.sampling[name]);
    kind.value = given.form.kind;
    formText.value = given.form.text;
    forms.set(kind.value, given.form.text);
    showForm();
    models.value = `${given.model}`;
    drawTurns(...focus);
    changed();
  };

  // Tokens and cost, updated while typing
  const meter = h("div", { class: "tk-play-meter", "aria-hidden": "true" }, h("span", {}), h("span", {}));
  const counted = h("span", { class: "tk-play-counted", "aria-live": "polite" });
  const count = latest((given) => ask("count", { draft: given }));
  const recount = async () => {
    if (turns.every((turn) => !turn.text)) return wrong(), tellCount({ note: "" });
    try {
      const found = await count(draft());
      wrong(found.errors);
      tellCount(found);
    } catch (error) { failed(error); }
  };
  const tellCount = ({ tokens, how, answer, window: most, cost, note = "", errors, estimate }) => {
    meter.hidden = !most;
    counted.classList.remove("tk-error");
    counted.title = how ?? "";
    const schema = kind.value === "json_schema" || kind.value === "regex";
    formNote.textContent = tokens !== undefined && schema ? "✓ valid" : "";
    if (tokens === undefined) { counted.textContent = note; return; }
    const about = `${estimate ? "about " : ""}${number(tokens)} tokens`;
    const left = most ? most - tokens - answer : 0;
    const room = !most ? "" : left >= 0 ? ` + ${number(answer)} for the answer; ${number(left)} of ${number(most)} remain`
      : ` + ${number(answer)} for the answer are ${number(-left)} too many for the window of ${number(most)}: shorten the messages, or lower max_tokens`;
    counted.classList.toggle("tk-error", left < 0);
    counted.textContent = `${about}${room}${cost ? ` · ${cost}` : ""}`;
    if (most) [tokens, answer].forEach((n, i) => (meter.children[i].style.width = `${Math.min(100, (100 * n) / most)}%`));
  };
  const soon = settled(recount, 250);
  const changed = () => soon();

  // Run and stop
  const run = h("button", { type: "button", class: "tk-main", title: "Ctrl+Enter", onclick: () => start() }, "▶ Run");
  const halt = h("button", { type: "button", title: "Escape", disabled: true, onclick: () => stop() }, "■ Stop");
  const state = h("span", { class: "tk-faint", role: "status" });
  const WAITING = "waiting for the model …";
  const busy = (now) => {
    running = now;
    // Moves the focus from one button to the other: a disabled button loses it.
    const there = document.activeElement;
    run.disabled = !!now;
    halt.disabled = !now;
    if (there === run && now) halt.focus();
    if (there === halt && !now) run.focus();
    state.textContent = now ? WAITING : "";
  };
  let starting = false;
  const start = async () => {
    if (running || starting) return;
    starting = true;
    try { wrong((await ask("run", { draft: draft() })).errors); } catch (error) { failed(error); }
    starting = false;
  };
  // Sent to every view when an answer begins, and when another view opens while one is running.
  on("began", (reply) => {
    if (running === reply.number) return;
    busy(reply.number);
    show(reply);
  });
  const stop = async () => {
    if (!running) return;
    state.textContent = "stopping …";
    try { await ask("stop"); } catch (error) { failed(error); }
  };
  on("more", ({ number: n, news }) => {
    if (shown?.number !== n || shown.state !== "running") return;
    if (state.textContent === WAITING) state.textContent = "writing …";
    for (const [choice, text] of news) {
      const box = texts.children[choice].querySelector(".tk-said");
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
      box.append(text);
      if (atEnd) box.scrollTop = box.scrollHeight; // keeps the position of a reader who scrolled up
    }
  });
  on("done", (reply) => {
    history = [...history.filter((one) => one.number !== reply.number), reply].sort((a, b) => a.number - b.number);
    if (running === reply.number || running === null) busy(null);
    show(reply);
    drawHistory();
  });
  root.addEventListener("keydown", (event) => {
    const own = event.key === "Enter" && (event.ctrlKey || event.metaKey) ? start : event.key === "Escape" && running ? stop : null;
    if (!own) return;
    event.preventDefault();
    event.stopPropagation();
    own();
  }, { signal });

  // The answer
  const answerHead = h("div", { class: "tk-bar tk-play-title" });
  const texts = h("div", { class: "tk-play-texts" });
  const facts = h("dl", { class: "tk-play-facts" });
  const answerError = h("div", { class: "tk-error", role: "alert" });
  const answer = h("section", { class: "tk-play-answer", "aria-label": "answer", hidden: true }, answerHead, texts, answerError, facts);
  const SIGNS = { running: "…", done: "✓", stopped: "■", error: "✕" };
  const show = (reply) => {
    shown = reply;
    model.textContent = reply.model;
    answer.hidden = false;
    pair.hidden = true;
    answerHead.replaceChildren(
      h("b", {}, `#${reply.number}`), h("span", { class: "tk-badge", "data-state": reply.state }, `${SIGNS[reply.state]} ${reply.state}`),
      reply.verdict ? h("span", { class: "tk-badge", "data-state": reply.verdict[0] ? "done" : "error", title: reply.verdict[2] },
        `${reply.verdict[0] ? "✓" : "✕"} ${reply.verdict[1]}`) : "",
      h("span", { class: "tk-faint" }, reply.settings));
    texts.replaceChildren(...reply.texts.map((text, i) => h("div", { class: "tk-play-text" },
      h("div", { class: "tk-said" }, text),
      h("div", { class: "tk-play-under" },
        reply.texts.length > 1 && h("span", { class: "tk-faint" }, `choice ${i + 1} of ${reply.texts.length}${reply.reasons[i] ? `: ${reply.reasons[i]}` : ""}`),
        reply.state !== "running" && text !== "" && h("button", { type: "button", onclick: () => goOn(reply.number, i) }, "continue the conversation")))));
    answerError.textContent = reply.error;
    facts.replaceChildren(...reply.facts.map(([name, value, meaning]) => h("div", { title: meaning }, h("dt", {}, name), h("dd", {}, value))));
    if (reply.verdict && !reply.verdict[0]) facts.append(h("div", { class: "tk-play-why" }, h("dt", {}, "verdict"), h("dd", {}, reply.verdict[2])));
  };
  const goOn = async (n, choice) => {
    try {
      const given = await ask("continue", { number: n, choice });
      restore(given, textOf(given.messages.length - 1));
    } catch (error) { failed(error); }
  };

  // History
  const past = h("ol", { class: "tk-play-history", "aria-label": "answers" });
  const pastBox = h("section", { "aria-label": "history", hidden: true },
    h("h4", {}, "Answers so far", h("span", { class: "tk-faint" }, "click one to have its messages and settings back; mark two to compare them")), past);
  const drawHistory = () => {
    pastBox.hidden = !history.length;
    const there = past.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
    past.replaceChildren(...[...history].reverse().map((one) => h("li", {},
      h("label", { class: "tk-play-pick" }, h("input", { type: "checkbox", checked: chosen.includes(one.number), "aria-label": `compare answer ${one.number}`,
        onchange: (event) => pick(one.number, event.target.checked) })),
      h("button", { type: "button", class: "tk-play-past", "aria-label": `answer ${one.number}, ${one.state}`, title: one.settings, onclick: () => again(one.number) },
        h("b", {}, `#${one.number} ${SIGNS[one.state]}`), h("span", { class: "tk-faint" }, one.settings),
        h("span", { class: "tk-said" }, (one.error || one.texts.join(" | ")).slice(0, 200)),
        h("span", { class: "tk-faint tk-play-used" }, one.state === "done" ? one.facts.find(([name]) => name === "usage")[1] : one.state)))));
    pastKeys.reset();
    [...past.querySelectorAll("[aria-label]")].find((one) => one.ariaLabel === there)?.focus();
  };
  const pastKeys = roving(past, ".tk-play-past", signal);
  const again = async (n) => {
    try {
      const [reply, given] = await Promise.all([ask("reply", { number: n }), ask("again", { number: n })]);
      restore(given);
      if (!running) show(reply);
    } catch (error) { failed(error); }
  };
  const pair = h("section", { class: "tk-play-pair", "aria-label": "comparison", hidden: true });
  const pick = async (n, yes) => {
    chosen = yes ? [...chosen, n].slice(-2) : chosen.filter((one) => one !== n);
    for (const box of past.querySelectorAll("input")) box.checked = chosen.includes(+box.getAttribute("aria-label").match(/\d+/)[0]);
    if (chosen.length < 2) { pair.hidden = true; answer.hidden = !shown; return; }
    try { compare(await ask("compare", { first: Math.min(...chosen), second: Math.max(...chosen) })); } catch (error) { failed(error); }
  };
  const compare = ({ sides, differ, messages, texts: both }) => {
    pair.hidden = false;
    answer.hidden = true;
    pair.replaceChildren(
      h("div", { class: "tk-bar tk-play-title" }, h("b", {}, `#${sides[0].number} and #${sides[1].number}`),
        h("span", { class: "tk-faint" }, `${messages ? "the same" : "other"} messages`),
        h("button", { type: "button", onclick: () => { chosen = []; drawHistory(); pair.hidden = true; answer.hidden = !shown; past.querySelector("button").focus(); } }, "close")),
      differ.length ? h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "setting"), ...sides.map((s) => h("th", {}, `#${s.number}`)))),
        h("tbody", {}, differ.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))) : h("p", { class: "tk-faint" }, "the same settings"),
      h("div", { class: "tk-play-sides" }, sides.map((side, i) => h("div", {},
        h("div", { class: "tk-faint" }, `#${side.number} ${side.facts.filter(([name]) => ["finish_reason", "usage", "seconds"].includes(name)).map(([name, value]) => (name === "seconds" ? `${value} s` : value)).join(" · ")}${side.texts.length > 1 ? ` · choice 1 of ${side.texts.length}` : ""}`),
        h("div", { class: "tk-said" }, both[i].map(([same, piece]) => (same ? piece : h(i ? "ins" : "del", {}, piece))))))));
  };

  // A sweep
  const code = h("section", { class: "tk-play-code", "aria-label": "code", hidden: true });
  const sweeping = h("button", { type: "button", onclick: () => sweep() }, "make this a sweep");
  const sweep = async () => {
    try {
      const found = await ask("code", { draft: draft() });
      wrong(found.errors);
      if (!found.code) return;
      const text = h("pre", { class: "tk-code", tabindex: "0" }, found.code);
      const copy = h("button", { type: "button", onclick: async () => {
        try { await navigator.clipboard.writeText(found.code); copy.textContent = "copied"; }
        catch { getSelection().selectAllChildren(text); copy.textContent = "selected: copy it with Ctrl+C"; }
      } }, "copy");
      code.hidden = false;
      code.replaceChildren(h("div", { class: "tk-bar tk-play-title" }, h("b", {}, "The same as a sweep"), copy,
        h("button", { type: "button", onclick: () => { code.hidden = true; sweeping.focus(); } }, "close")), text);
      copy.focus();
    } catch (error) { failed(error); }
  };

  root.append(h("div", { class: "tk-play" },
    h("div", { class: "tk-play-ask" },
      h("section", { "aria-label": "messages" }, editor, place("messages"), more),
      h("section", { class: "tk-play-settings", "aria-label": "settings" },
        h("div", { class: "tk-play-grid" }, h("span", { class: "tk-faint" }, "model"), content.models.length ? h("span", { class: "tk-play-models" }, models) : model, content.controls.flatMap(setting),
          h("label", {}, "response_format"), h("span", {}, kind), h("div", { class: "tk-play-form" }, formText, formNote), place("form")),
        content.fixed.length ? h("p", { class: "tk-faint" }, `also: ${content.fixed.join(" · ")}`) : null),
      h("div", { class: "tk-play-below" },
        h("div", { class: "tk-bar tk-play-run" }, run, halt, state, sweeping),
        h("div", { class: "tk-play-count" }, meter, counted),
        place("run"), code, answer, pair)),
    pastBox));
  meter.hidden = true;
  restore(content.draft);
  drawHistory();
  if (history.length) show(history.at(-1));
  signal.addEventListener("abort", () => ask("gone").catch(() => {}));
  ask("open").catch(failed);
});
