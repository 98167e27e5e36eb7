// The playground: messages on the left, settings on the right, the reply and the history below.
export default widget((view) => new PlaygroundView(view));

class PlaygroundView {
  constructor({ root, content, request, on, signal }) {
    Object.assign(this, { request, history: content.history, running: null }); // running: the number of a reply
    this.errors = errorPlaces("tk-play-error", "run");
    const changed = debounce(() => this.attempt(() => this.counter.update(this.editor, this.draft())), 250);
    this.changed = changed;
    this.editor = new MessageEditor(content.roles, this.errors, changed);
    this.settings = new SettingsForm(content, this.errors, changed);
    this.counter = new TokenCounter(request, this.errors, this.settings);
    this.runBar = new RunBar(() => this.start(), () => this.stop());
    this.reply = new ReplyPanel((number, choice) => this.goOn(number, choice));
    this.comparison = h("section", { class: "tk-play-pair", "aria-label": "comparison", hidden: true });
    this.past = new History(signal, {
      open: (number) => this.open(number), compare: (chosen) => this.attempt(() => this.compare(chosen)) });
    this.code = h("section", { class: "tk-play-code", "aria-label": "code", hidden: true });
    this.sweep = h("button", { type: "button", onclick: () => this.showSweep() }, "make this a sweep");
    root.append(this.layout());

    root.addEventListener("keydown", (event) => this.onKey(event), { signal });
    on("reply_started", (reply) => this.onStarted(reply));
    on("reply_text", ({ number, deltas }) => this.reply.append(number, deltas) && this.runBar.showWriting());
    on("reply_finished", (reply) => this.onFinished(reply));
    signal.addEventListener("abort", () => request("view_closed").catch(() => {}));

    this.restore(content.draft);
    this.past.draw(this.history);
    if (this.history.length) this.show(this.history.at(-1));
    this.attempt(() => request("view_opened"));
  }

  layout() {
    const { errors, editor, settings, counter, runBar, reply, comparison, code, past, sweep } = this;
    return h("div", { class: "tk-play" },
      h("div", { class: "tk-play-ask" },
        h("section", { "aria-label": "messages" }, editor.box, errors.place("messages"), editor.add),
        settings.box,
        h("div", { class: "tk-play-below" },
          h("div", { class: "tk-bar tk-play-run" }, runBar.elements, sweep),
          counter.box, errors.place("run"), code, reply.box, comparison)),
      past.box);
  }

  async attempt(f) {
    try {
      await f();
    } catch (error) {
      this.errors.show({ run: error.message });
    }
  }

  draft() {
    return { messages: this.editor.messages(), ...this.settings.values() };
  }

  // labels: names of the elements to focus, the first that can be.
  restore(draft, ...labels) {
    this.settings.restore(draft);
    this.editor.restore(draft.messages, ...labels);
    this.changed();
  }

  async start() {
    if (this.running || this.starting) return;
    this.starting = true;
    await this.attempt(async () => {
      const { errors } = await this.request("run", { draft: this.draft() });
      this.errors.show(errors);
    });
    this.starting = false;
  }

  stop() {
    if (!this.running) return;
    this.runBar.showStopping();
    this.attempt(() => this.request("stop"));
  }

  setRunning(number) {
    this.running = number;
    this.runBar.draw(number !== null);
  }

  // Ctrl+Enter starts; Escape stops a running reply.
  onKey(event) {
    const starts = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    const stops = event.key === "Escape" && this.running;
    if (!starts && !stops) return;
    event.preventDefault();
    event.stopPropagation();
    if (starts) this.start();
    else this.stop();
  }

  // Every view is notified when a reply starts, and when another view opens while one is running.
  onStarted(reply) {
    if (this.running === reply.number) return;
    this.setRunning(reply.number);
    this.show(reply);
  }

  onFinished(reply) {
    this.history = [...this.history.filter((other) => other.number !== reply.number), reply];
    this.history.sort((a, b) => a.number - b.number);
    if (this.running === reply.number || this.running === null) this.setRunning(null);
    this.show(reply);
    this.past.draw(this.history);
  }

  show(reply) {
    this.settings.model.textContent = reply.model;
    this.comparison.hidden = true;
    this.reply.draw(reply);
  }

  // Shows a reply of the history, and restores its draft.
  open(number) {
    return this.attempt(async () => {
      const requests = [this.request("reply", { number }), this.request("reply_draft", { number })];
      const [reply, draft] = await Promise.all(requests);
      this.restore(draft);
      if (!this.running) this.show(reply);
    });
  }

  // Continues the conversation after a choice.
  goOn(number, choice) {
    return this.attempt(async () => {
      const draft = await this.request("continuation", { number, choice });
      this.restore(draft, this.editor.textLabel(draft.messages.length - 1));
    });
  }

  // chosen: the numbers of at most two replies.
  async compare(chosen) {
    if (chosen.length < 2) return this.closeComparison();
    const pair = await this.request("compare", { first: Math.min(...chosen), second: Math.max(...chosen) });
    this.comparison.hidden = false;
    this.reply.box.hidden = true;
    this.comparison.replaceChildren(...comparedReplies(pair, () => {
      this.closeComparison();
      this.past.clearChosen();
    }));
  }

  closeComparison() {
    this.comparison.hidden = true;
    this.reply.box.hidden = !this.reply.reply;
  }

  showSweep() {
    return this.attempt(async () => {
      const { errors = {}, code } = await this.request("code", { draft: this.draft() });
      this.errors.show(errors);
      if (code) showSource(this.code, "The same as a sweep", code, () => this.sweep.focus());
    });
  }
}

// Tokens and cost, updated while typing.
class TokenCounter {
  constructor(request, errors, settings) {
    Object.assign(this, { errors, settings });
    this.request = latest((draft) => request("prompt_size", { draft }));
    this.meter = h("div", { class: "tk-play-meter", "aria-hidden": "true", hidden: true }, h("span", {}), h("span", {}));
    this.text = h("span", { class: "tk-play-counted", "aria-live": "polite" });
    this.box = h("div", { class: "tk-play-count" }, this.meter, this.text);
  }

  async update(editor, draft) {
    const empty = editor.turns.every((turn) => !turn.text);
    const result = empty ? { errors: {} } : await this.request(draft);
    this.errors.show(result.errors);
    this.draw(result);
  }

  draw({ tokens, how = "", answer, window, cost, note = "", estimate }) {
    this.meter.hidden = !window;
    this.text.title = how;
    this.settings.showFormatValid(tokens !== undefined);
    const left = window && tokens !== undefined ? window - tokens - answer : 0;
    this.text.classList.toggle("tk-error", left < 0);
    if (tokens === undefined) {
      this.text.textContent = note;
      return;
    }
    const count = `${estimate ? "about " : ""}${number(tokens)} tokens`;
    const room = !window ? ""
      : left >= 0 ? ` + ${number(answer)} for the answer; ${number(left)} of ${number(window)} remain`
        : ` + ${number(answer)} for the answer are ${number(-left)} too many for the window of ${number(window)}: `
          + "shorten the messages, or lower max_tokens";
    this.text.textContent = `${count}${room}${cost ? ` · ${cost}` : ""}`;
    if (!window) return;
    const width = (n) => `${Math.min(100, (100 * n) / window)}%`;
    [tokens, answer].forEach((n, i) => (this.meter.children[i].style.width = width(n)));
  }
}

class RunBar {
  constructor(start, stop) {
    this.run = h("button", { type: "button", class: "tk-main", title: "Ctrl+Enter", onclick: start }, "▶ Run");
    this.stop = h("button", { type: "button", title: "Escape", disabled: true, onclick: stop }, "■ Stop");
    this.state = h("span", { class: "tk-faint", role: "status" });
    this.elements = [this.run, this.stop, this.state];
    this.waiting = false; // for the first token
  }

  draw(running) {
    // Moves the focus from one button to the other: a disabled button loses it.
    const focused = document.activeElement;
    this.run.disabled = running;
    this.stop.disabled = !running;
    if (focused === this.run && running) this.stop.focus();
    if (focused === this.stop && !running) this.run.focus();
    this.waiting = running;
    this.state.textContent = running ? "waiting for the model …" : "";
  }

  showWriting() {
    if (this.waiting) this.state.textContent = "writing …";
    this.waiting = false;
  }

  showStopping() {
    this.waiting = false;
    this.state.textContent = "stopping …";
  }
}

const STATE_SIGNS = { running: "…", done: "✓", stopped: "■", error: "✕" };

class ReplyPanel {
  // goOn(number, choice): continues the conversation after a choice.
  constructor(goOn) {
    this.goOn = goOn;
    this.reply = null;
    this.head = h("div", { class: "tk-bar tk-play-title" });
    this.texts = h("div", { class: "tk-play-texts" });
    this.error = h("div", { class: "tk-error", role: "alert" });
    this.facts = h("dl", { class: "tk-play-facts" });
    this.box = h("section", { class: "tk-play-answer", "aria-label": "answer", hidden: true },
      this.head, this.texts, this.error, this.facts);
  }

  draw(reply) {
    this.reply = reply;
    this.box.hidden = false;
    const { number, state, verdict, settings, texts, error, facts } = reply;
    const badge = (badgeState, text, title) => h("span", { class: "tk-badge", "data-state": badgeState, title }, text);
    const [valid, status, sentence] = verdict ?? [];
    this.head.replaceChildren(
      h("b", {}, `#${number}`), badge(state, `${STATE_SIGNS[state]} ${state}`),
      verdict ? badge(valid ? "done" : "error", `${valid ? "✓" : "✕"} ${status}`, sentence) : "",
      h("span", { class: "tk-faint" }, settings));
    this.texts.replaceChildren(...texts.map((text, i) => this.choice(text, i)));
    this.error.textContent = error;
    this.facts.replaceChildren(...facts.map(([name, value, meaning]) =>
      h("div", { title: meaning }, h("dt", {}, name), h("dd", {}, value))));
    if (verdict && !valid)
      this.facts.append(h("div", { class: "tk-play-why" }, h("dt", {}, "verdict"), h("dd", {}, sentence)));
  }

  choice(text, i) {
    const { number, state, texts, reasons } = this.reply;
    const place = `choice ${i + 1} of ${texts.length}${reasons[i] ? `: ${reasons[i]}` : ""}`;
    const goOn = h("button", { type: "button", onclick: () => this.goOn(number, i) }, "continue the conversation");
    return h("div", { class: "tk-play-text" },
      h("div", { class: "tk-said" }, text),
      h("div", { class: "tk-play-under" }, texts.length > 1 && h("span", { class: "tk-faint" }, place),
        state !== "running" && text !== "" && goOn));
  }

  // Appends new text to the running reply. Returns whether it is the one shown here.
  append(number, deltas) {
    if (this.reply?.number !== number || this.reply.state !== "running") return false;
    for (const [choice, text] of deltas) {
      const box = this.texts.children[choice].querySelector(".tk-said");
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
      box.append(text);
      if (atEnd) box.scrollTop = box.scrollHeight; // keeps the position of a reader who scrolled up
    }
    return true;
  }
}

class History {
  // open(number): shows a reply and its draft again. compare(chosen): called with the numbers of at most two replies.
  constructor(signal, { open, compare }) {
    Object.assign(this, { open, compare });
    this.chosen = [];
    this.list = h("ol", { class: "tk-play-history", "aria-label": "answers" });
    this.focus = rovingFocus(this.list, ".tk-play-past", signal);
    const hint = "click one to have its messages and settings back; mark two to compare them";
    this.box = h("section", { "aria-label": "history", hidden: true },
      h("h4", {}, "Answers so far", h("span", { class: "tk-faint" }, hint)), this.list);
  }

  draw(replies) {
    this.replies = replies;
    this.box.hidden = !replies.length;
    const focused = this.list.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
    this.list.replaceChildren(...[...replies].reverse().map((reply) => this.item(reply)));
    this.focus.reset();
    [...this.list.querySelectorAll("[aria-label]")].find((element) => element.ariaLabel === focused)?.focus();
  }

  item(reply) {
    const { number, state, settings, error, texts, facts } = reply;
    const pick = h("input", {
      type: "checkbox", checked: this.chosen.includes(number), "aria-label": `compare answer ${number}`,
      "data-number": number, onchange: (event) => this.choose(number, event.target.checked),
    });
    const usage = state === "done" ? facts.find(([name]) => name === "usage")[1] : state;
    const open = h("button", {
      type: "button", class: "tk-play-past", "aria-label": `answer ${number}, ${state}`, title: settings,
      onclick: () => this.open(number),
    }, h("b", {}, `#${number} ${STATE_SIGNS[state]}`), h("span", { class: "tk-faint" }, settings),
      h("span", { class: "tk-said" }, (error || texts.join(" | ")).slice(0, 200)),
      h("span", { class: "tk-faint tk-play-used" }, usage));
    return h("li", {}, h("label", { class: "tk-play-pick" }, pick), open);
  }

  // Two replies at most are chosen: a third takes the place of the first.
  choose(number, chosen) {
    this.chosen = chosen ? [...this.chosen, number].slice(-2) : this.chosen.filter((other) => other !== number);
    for (const box of this.list.querySelectorAll("input")) box.checked = this.chosen.includes(+box.dataset.number);
    this.compare(this.chosen);
  }

  clearChosen() {
    this.chosen = [];
    this.draw(this.replies);
    this.list.querySelector("button").focus();
  }
}

// Two replies side by side: the settings that differ, and a diff of their texts.
function comparedReplies({ sides, differ, messages, texts }, onclose) {
  const [first, second] = sides.map((side) => `#${side.number}`);
  const rows = differ.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))));
  const table = h("table", {},
    h("thead", {}, h("tr", {}, ["setting", first, second].map((name) => h("th", {}, name)))), h("tbody", {}, rows));
  const text = (pieces, tag) => pieces.map(([same, piece]) => (same ? piece : h(tag, {}, piece)));
  return [
    h("div", { class: "tk-bar tk-play-title" }, h("b", {}, `${first} and ${second}`),
      h("span", { class: "tk-faint" }, `${messages ? "the same" : "other"} messages`),
      h("button", { type: "button", onclick: onclose }, "close")),
    rows.length ? table : h("p", { class: "tk-faint" }, "the same settings"),
    h("div", { class: "tk-play-sides" }, sides.map((side, i) => h("div", {},
      h("div", { class: "tk-faint" }, sideFacts(side)),
      h("div", { class: "tk-said" }, text(texts[i], i ? "ins" : "del"))))),
  ];
}

function sideFacts({ number, facts, texts }) {
  const listed = facts.filter(([name]) => ["finish_reason", "usage", "seconds"].includes(name));
  const values = listed.map(([name, value]) => (name === "seconds" ? `${value} s` : value)).join(" · ");
  return `#${number} ${values}${texts.length > 1 ? ` · choice 1 of ${texts.length}` : ""}`;
}
