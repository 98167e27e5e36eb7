// The draft in the playground's editor: messages, sampling parameters, response format.

const FORMAT_HINTS = {
  json_schema: '{"type": "object", "properties": {…}}', choice: "one choice a line", regex: "\\d{4}-\\d{2}",
  grammar: "EBNF or Lark",
};
const FORMAT_NAMES = { text: "text", json_object: "JSON mode", json_schema: "JSON Schema" };

class MessageEditor {
  constructor(roles, errors, onchange) {
    Object.assign(this, { roles: roles.map((role) => [role, role]), errors, onchange });
    this.turns = []; // { role, text, kept: index of the original text, cut: whether it is too long to be edited }
    this.box = h("div", { class: "tk-play-turns" });
    this.add = h("button", { type: "button", onclick: () => this.append() }, "+ add a turn");
  }

  textLabel(i) {
    return `text of turn ${i + 1}`;
  }

  // labels: names of the elements to focus, the first that can be.
  draw(...labels) {
    this.box.replaceChildren(...this.turns.map((turn, i) => this.turnBox(turn, i)));
    if (labels.length) focusByLabel(this.box, labels, this.add);
  }

  turnBox(turn, i) {
    const role = select(this.roles, turn.role, (value) => {
      turn.role = value;
      box.dataset.role = value;
      this.onchange();
    });
    role.setAttribute("aria-label", `role of turn ${i + 1}`);
    const acts = h("span", { class: "tk-play-acts" }, this.moveButton(i, -1, "↑", "move up"),
      this.moveButton(i, 1, "↓", "move down"), signButton(`remove turn ${i + 1}`, "✕", () => this.remove(i)));
    const box = h("div", { class: "tk-play-turn", "data-role": turn.role },
      h("div", { class: "tk-play-head" }, role, acts), this.textInput(turn, i), this.errors.place(`messages[${i}]`));
    return box;
  }

  textInput(turn, i) {
    const title = turn.cut ? "too long to be edited here: it is sent whole, as it was given"
      : turn.kept !== undefined ? "holds characters that cannot be seen: it is sent as it was given, until it is edited"
        : null;
    const input = h("textarea", {
      rows: 2, "aria-label": this.textLabel(i), readOnly: !!turn.cut, title,
      placeholder: turn.role === "assistant" ? "" : "say something",
      oninput: () => {
        turn.text = input.value;
        delete turn.kept;
        this.onchange();
      },
    });
    input.value = turn.text;
    return input;
  }

  moveButton(i, by, sign, label) {
    return signButton(`${label} turn ${i + 1}`, sign, () => {
      const { turns } = this;
      [turns[i], turns[i + by]] = [turns[i + by], turns[i]];
      this.draw(`${label} turn ${i + by + 1}`, this.textLabel(i + by));
      this.onchange();
    }, !this.turns[i + by]);
  }

  remove(i) {
    this.turns.splice(i, 1);
    this.draw(this.textLabel(Math.min(i, this.turns.length - 1)));
    this.onchange();
  }

  append() {
    const last = this.turns.at(-1)?.role;
    this.turns.push({ role: last === "user" ? "assistant" : "user", text: "" });
    this.draw(this.textLabel(this.turns.length - 1));
    this.onchange();
  }

  messages() {
    return this.turns.map(({ role, text, kept }) => ({ role, text, kept: kept ?? null }));
  }

  restore(messages, ...labels) {
    this.turns = messages.map((turn) => ({ ...turn }));
    this.draw(...labels);
  }
}

// A sampling parameter as a text, a text with a slider, lines of text, or a checkbox. Its name, range and neutral value
// come from Python.
class Setting {
  constructor(control, errors, onchange) {
    const { name, kind, neutral, fix } = control;
    Object.assign(this, { name, kind, neutral, onchange });
    const id = `tk-play-${name}-${Math.random().toString(36).slice(2)}`;
    const usual = kind === "lines" ? "what ends the text, one a line; \\n is a line's end"
      : neutral === null ? "" : `; when empty, the model's own, else ${neutral}`;
    const title = `${fix}${usual}`;
    this.slider = kind === "real" ? this.range(control, title) : null;
    this.box = this.input({ id, title });
    this.elements = [h("label", { for: id, title }, name),
      h("span", { class: `tk-play-${kind}` }, this.slider, this.box), errors.place(name)];
  }

  input(properties) {
    const oninput = () => {
      this.showOnSlider();
      this.onchange();
    };
    if (this.kind === "flag") return h("input", { ...properties, type: "checkbox", onchange: this.onchange });
    if (this.kind === "lines") return h("textarea", { ...properties, rows: 1, placeholder: "one a line", oninput });
    return h("input", {
      ...properties, type: "text", inputMode: "decimal", autocomplete: "off", placeholder: "auto", oninput });
  }

  range({ name, low, high, step }, title) {
    return h("input", { type: "range", min: low, max: high, step, "aria-label": `${name}, slider`, title,
      oninput: () => {
        this.value = `${+(+this.slider.value).toFixed(3)}`;
        this.onchange();
      } });
  }

  showOnSlider() {
    if (!this.slider) return;
    this.slider.value = this.box.value === "" ? this.neutral : this.box.value;
    this.slider.classList.toggle("tk-play-unset", this.box.value === "");
  }

  get value() {
    return this.kind === "flag" ? this.box.checked : this.box.value;
  }

  set value(value) {
    this.box[this.kind === "flag" ? "checked" : "value"] = value;
    this.showOnSlider();
  }
}

class SettingsForm {
  constructor({ model, models, controls, kinds, fixed }, errors, onchange) {
    this.onchange = onchange;
    this.model = h("span", { class: "tk-play-model" }, model);
    this.models = select(models.map((name, i) => [`${i}`, name]), "0", onchange); // shown where there are several
    this.models.setAttribute("aria-label", "model");
    this.settings = controls.map((control) => new Setting(control, errors, onchange));
    this.formatTexts = new Map(); // the typed text for each kind of response format
    this.kind = select(kinds.map((kind) => [kind, FORMAT_NAMES[kind] ?? kind]), "text", () => {
      this.formatText.value = this.formatTexts.get(this.kind.value) ?? "";
      this.drawFormat();
      onchange();
    });
    this.kind.setAttribute("aria-label", "response format");
    this.formatText = h("textarea", { rows: 3, spellcheck: false, "aria-label": "what the answer must be",
      oninput: () => {
        this.formatTexts.set(this.kind.value, this.formatText.value);
        onchange();
      } });
    this.formatNote = h("div", { class: "tk-faint tk-play-note" });
    const grid = h("div", { class: "tk-play-grid" }, h("span", { class: "tk-faint" }, "model"),
      models.length ? h("span", { class: "tk-play-models" }, this.models) : this.model,
      this.settings.flatMap((setting) => setting.elements),
      h("label", {}, "response_format"), h("span", {}, this.kind),
      h("div", { class: "tk-play-form" }, this.formatText, this.formatNote), errors.place("form"));
    const also = fixed.length ? h("p", { class: "tk-faint" }, `also: ${fixed.join(" · ")}`) : null;
    this.box = h("section", { class: "tk-play-settings", "aria-label": "settings" }, grid, also);
  }

  drawFormat() {
    this.formatText.hidden = !(this.kind.value in FORMAT_HINTS);
    this.formatText.placeholder = FORMAT_HINTS[this.kind.value] ?? "";
  }

  showFormatValid(valid) {
    const checked = this.kind.value === "json_schema" || this.kind.value === "regex";
    this.formatNote.textContent = valid && checked ? "✓ valid" : "";
  }

  values() {
    return {
      sampling: Object.fromEntries(this.settings.map((setting) => [setting.name, setting.value])),
      form: { kind: this.kind.value, text: this.formatText.hidden ? "" : this.formatText.value },
      model: +this.models.value,
    };
  }

  restore({ sampling, form, model }) {
    for (const setting of this.settings) setting.value = sampling[setting.name];
    this.kind.value = form.kind;
    this.formatText.value = form.text;
    this.formatTexts.set(form.kind, form.text);
    this.drawFormat();
    this.models.value = `${model}`;
  }
}
