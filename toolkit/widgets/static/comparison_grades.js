// Grades of outputs: shown at once (optimistic), reverted if they cannot be saved; and the selection of outputs.

const THUMB =
  "M1 7h3v7H1zM5 7.4 8.2 1c1.2 0 2 .9 1.8 2.1L9.5 6h3.6c1 0 1.7.9 1.5 1.8l-1.1 4.9c-.2.8-.9 1.3-1.7 1.3H5z";
const NO_GRADE = { thumb: null, score: null, note: "" };
const NOT_GRADABLE = "Grades are kept in a store's file: these results were read from another one.";

class Grades {
  constructor({ root, request, gradable }) {
    Object.assign(this, { root, request, gradable });
    this.grades = new Map(); // by the output's row of the results table
  }

  get(i) {
    return this.grades.get(i) ?? NO_GRADE;
  }

  set(i, grade) {
    this.grades.set(i, grade);
  }

  // The controls of an output's grade. failed: an output that is an error cannot be graded.
  box(i, name, failed) {
    const onkeydown = (event) => {
      const done = event.key === "Escape" || (event.key === "Enter" && event.target.tagName === "INPUT");
      if (done) box.closest(".cmp-cell, .cmp-panel").focus();
      event.stopPropagation();
    };
    const common = { disabled: !this.gradable || failed, onkeydown };
    const thumb = (value, label) => h("button", {
      ...common, type: "button", class: "cmp-thumb", "aria-label": label, title: label,
      onclick: () => this.save(i, { thumb: this.get(i).thumb === value ? null : value }),
    }, thumbPicture(value === 1));
    const input = (properties, parse) => {
      const onchange = (event) => event.target.validity.badInput || this.save(i, parse(event.target.value));
      return h("input", { ...common, ...properties, onchange });
    };
    const up = thumb(1, "thumb up"), down = thumb(-1, "thumb down");
    const score = input(
      { type: "number", step: "any", class: "cmp-score", placeholder: "score", "aria-label": "score" },
      (text) => ({ score: text === "" ? null : Number(text) }));
    const note = input(
      { type: "text", class: "cmp-note", placeholder: "note", "aria-label": "note" }, (text) => ({ note: text }));
    const problem = h("div", { class: "tk-error", role: "alert" });
    const box = h("div", {
      class: "cmp-grade", role: "group", "aria-label": `grade of ${name}`, "data-i": String(i),
      title: this.gradable ? null : NOT_GRADABLE,
    }, up, down, score, note, problem);
    box.sync = (error) => this.sync(this.get(i), { up, down, score, note, problem }, error);
    box.sync();
    return box;
  }

  // A grade in a few characters, for a cell whose controls are hidden.
  mark(i) {
    const mark = h("span", { class: "cmp-given", "data-i": String(i) });
    mark.sync = () => {
      const { thumb, score, note } = this.get(i);
      const short = note.length > 40 ? `${note.slice(0, 40)}…` : note;
      mark.replaceChildren(...[
        thumb && h("span", { role: "img", "aria-label": thumb === 1 ? "thumb up" : "thumb down" }, thumbPicture(thumb === 1)),
        score !== null && number(score), note && `“${short}”`].filter((part) => !isNothing(part) && part !== ""));
    };
    mark.sync();
    return mark;
  }

  // Shows a grade in its controls. Inputs that are being edited keep their text.
  sync(grade, { up, down, score, note, problem }, error) {
    up.setAttribute("aria-pressed", String(grade.thumb === 1));
    down.setAttribute("aria-pressed", String(grade.thumb === -1));
    const texts = [[score, grade.score === null ? "" : String(grade.score)], [note, grade.note]];
    for (const [input, text] of texts) if (input !== document.activeElement) input.value = text;
    problem.textContent = error ? `not saved: ${error.message}` : "";
  }

  async save(i, fields) {
    const before = this.grades.get(i) ?? null;
    this.set(i, { ...NO_GRADE, ...before, ...fields });
    this.syncAll(i);
    try {
      this.set(i, await this.request("grade", { i, ...fields }));
      this.syncAll(i);
    } catch (error) {
      this.set(i, before);
      this.syncAll(i, error);
    }
  }

  // An output may be in the table more than once, and in the detail.
  syncAll(i, error) {
    this.root.querySelectorAll(`:is(.cmp-grade, .cmp-given)[data-i="${i}"]`).forEach((part) => part.sync(error));
  }

  // Replaces the grades of all outputs that were drawn, and the selection, by the stored ones.
  async refresh(selection) {
    const places = [...this.grades.keys()];
    const state = await this.request("current_state", { places });
    places.forEach((i, k) => {
      this.set(i, state.grades[k]);
      this.syncAll(i);
    });
    selection.restore(state.selected);
  }
}

function thumbPicture(up) {
  return svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" },
    svg("path", { d: THUMB, fill: "currentColor", transform: up ? null : "rotate(180 8 8)" }));
}

class Selection {
  // onchange: called after each change.
  constructor({ root, request, showError, onchange }) {
    Object.assign(this, { root, onchange });
    this.outputs = new Set();
    this.send = debounce(() => request("select", { places: [...this.outputs] }).catch(showError), 60);
  }

  // A checkbox for some outputs; outputs(): their rows of the results table.
  checkbox(outputs, name) {
    const onchange = () => {
      outputs().forEach((i) => (box.checked ? this.outputs.add(i) : this.outputs.delete(i)));
      this.changed();
    };
    const box = h("input", { type: "checkbox", class: "cmp-pick", "aria-label": name, tabindex: -1, onchange });
    box.sync = () => {
      const all = outputs(), selected = all.filter((i) => this.outputs.has(i)).length;
      box.checked = all.length > 0 && selected === all.length;
      box.indeterminate = selected > 0 && selected < all.length;
    };
    box.sync();
    return box;
  }

  add(outputs) {
    outputs.forEach((i) => this.outputs.add(i));
    this.changed();
  }

  clear() {
    this.outputs.clear();
    this.changed();
  }

  changed() {
    this.sync();
    this.send();
  }

  // Takes over a selection that Python has already.
  restore(outputs) {
    outputs.forEach((i) => this.outputs.add(i));
    this.sync();
  }

  sync() {
    this.root.querySelectorAll(".cmp-pick").forEach((box) => box.sync());
    this.onchange();
  }
}
