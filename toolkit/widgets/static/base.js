// Frontend code that all widgets share. All text is inserted as text: nothing that a model has written is ever parsed
// as HTML.

// An element: h("button", { class: "on", onclick: f, title: "…" }, "text", child, …).
function h(name, given = {}, ...children) {
  return made(document.createElement(name), given, children);
}

function svg(name, given = {}, ...children) {
  return made(document.createElementNS("http://www.w3.org/2000/svg", name), given, children);
}

function made(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach(([k, v]) => element.style.setProperty(k, v));
    else if (name in element && typeof value !== "string" && !(element instanceof SVGElement)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// The anywidget module for a function that renders: draw({ root, content, ask, on, signal }).
//   ask(what, given) → a promise of what the kernel's do_what(**given) returns
//   on(what, f)      f(value) when Python calls notify(what, value); on("content", f) when it replaces its content
//   signal           aborted when the view is removed
const QUIET = 4000; // milliseconds without a response, after which the view says so
const SILENCE = "The kernel does not answer. While it is busy, wait; when it does not run, start it and run this cell again.";

function widget(draw) {
  return {
    async render({ model, el }) {
      const gone = new AbortController();
      const root = h("div", { class: "tk" });
      // JupyterLab's shortcuts ("a" adds a cell, "d d" deletes one) match any focused element without this attribute.
      // It must be on that element: Lab searches upwards from it, and its selector matches before it reaches root.
      root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
      const silence = h("p", { class: "tk-silence", role: "status" });
      root.append(silence);
      el.append(root);
      const { ask, on } = channel(model, gone.signal, (text) => (silence.textContent = text));
      await draw({ root, content: model.get("content"), ask, on, signal: gone.signal });
      return () => gone.abort();
    },
  };
}

function channel(model, signal, tellSilence) {
  const waiting = new Map(), heard = new Map();
  // Every view of a widget receives all messages: each recognizes the responses to its own requests.
  const mine = Math.random().toString(36).slice(2);
  let last = 0;
  const hear = (said) => {
    tellSilence("");
    if (heard.has(said.what)) heard.get(said.what)(said.value);
    const asked = waiting.get(said.to);
    if (!asked) return;
    waiting.delete(said.to);
    clearTimeout(asked.late);
    if ("error" in said) asked.reject(new Error(said.error));
    else asked.resolve(said.value);
  };
  const renewed = () => heard.get("content")?.(model.get("content"));
  model.on("msg:custom", hear);
  model.on("change:content", renewed);
  signal.addEventListener("abort", () => {
    model.off("msg:custom", hear);
    model.off("change:content", renewed);
  });
  const ask = (what, given = {}) =>
    new Promise((resolve, reject) => {
      const id = `${mine}-${++last}`;
      const late = setTimeout(() => tellSilence(SILENCE), QUIET);
      waiting.set(id, { resolve, reject, late });
      try {
        model.send({ id, what, given });
      } catch { // JupyterLab throws at once when the kernel is gone
        clearTimeout(late);
        tellSilence(SILENCE);
      }
    });
  return { ask, on: (what, f) => heard.set(what, f) };
}

// settled: a debounced f, which runs once the calls have paused. latest: only the last call's result is delivered.
function settled(f, pause = 120) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...given), pause);
  };
}

function latest(f) {
  let asked = 0;
  return async (...given) => {
    const mine = ++asked;
    try {
      const value = await f(...given);
      if (mine === asked) return value;
    } catch (error) {
      if (mine === asked) throw error;
    }
    return new Promise(() => {});
  };
}

// A tooltip on elements that match the selector `chosen`; fill(element) returns its content, null for none. It is in
// the browser's top layer, since a notebook's outputs clip overflow.
let tips = 0;
function tip(root, chosen, fill, signal) {
  const box = h("div", { class: "tk-tip", role: "tooltip", id: `tk-tip-${++tips}-${Date.now()}`, popover: "manual" });
  root.append(box);
  const show = (event) => {
    const element = event.target.closest?.(chosen);
    if (!element || !root.contains(element)) return;
    const content = fill(element);
    if (!content) return hide();
    box.replaceChildren(content);
    element.setAttribute("aria-describedby", box.id);
    if (!box.matches(":popover-open")) box.showPopover();
    const at = element.getClientRects()[0] ?? element.getBoundingClientRect();
    const below = at.bottom + 4 + box.offsetHeight <= innerHeight || at.top < box.offsetHeight;
    box.style.left = `${Math.max(2, Math.min(at.left, innerWidth - box.offsetWidth - 4))}px`;
    box.style.top = `${Math.max(2, below ? Math.min(at.bottom + 4, innerHeight - box.offsetHeight - 2) : at.top - box.offsetHeight - 4)}px`;
  };
  const hide = () => box.matches(":popover-open") && box.hidePopover();
  const o = { signal };
  root.addEventListener("pointerover", show, o);
  root.addEventListener("focusin", show, o);
  root.addEventListener("pointerleave", hide, o);
  root.addEventListener("focusout", hide, o);
  root.addEventListener("pointerout", (e) => !e.relatedTarget?.closest?.(chosen) && hide(), o);
  root.addEventListener("keydown", (e) => e.key === "Escape" && hide(), o);
  return hide;
}

// Roving tabindex: one of the elements that match `chosen` is a tab stop; arrows, Home and End move to the others.
function roving(box, chosen, signal, steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }) {
  const all = () => [...box.querySelectorAll(chosen)];
  const go = (to) => {
    if (!to) return;
    all().forEach((one) => (one.tabIndex = -1));
    to.tabIndex = 0;
    to.focus();
  };
  box.addEventListener("keydown", (event) => {
    const one = event.target.closest(chosen);
    if (!one) return;
    const list = all();
    const to = event.key === "Home" ? list[0] : event.key === "End" ? list.at(-1)
      : event.key in steps ? list[list.indexOf(one) + steps[event.key]] : null;
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    go(to);
  }, { signal });
  box.addEventListener("focusin", (event) => {
    const one = event.target.closest(chosen);
    if (one) { all().forEach((other) => (other.tabIndex = -1)); one.tabIndex = 0; }
  }, { signal });
  return { reset: () => all().forEach((one, i) => (one.tabIndex = i ? -1 : 0)) };
}

// A labelled control: field("temperature", h("input", …)).
function field(label, control, note) {
  return h("label", { class: "tk-field" }, h("span", {}, label), control, note);
}

function select(options, value, onchange) {
  const box = h("select", { onchange: () => onchange(box.value) });
  for (const [name, label] of options) box.append(h("option", { value: name, selected: name === value }, label));
  return box;
}

// Formatted numbers. null, which means unknown, is a dash.
const percent = (p, digits = 1) => (p === null || p === undefined ? "–" : `${(100 * p).toFixed(digits)} %`);
const number = (x, digits = 2) =>
  x === null || x === undefined ? "–" : Number.isInteger(x) ? x.toLocaleString("en") : Math.abs(x) >= 1e-3 || x === 0 ? x.toFixed(digits) : x.toExponential(1);

// A line or scatter chart that follows the theme.
//   series: [{ name, points: [[x, y, told], …], line: bool, mark: number }]; told: a point's tooltip
function chart({ series, x, y, width = 520, height = 240, log = false, zero = true }) {
  const edge = { left: 58, right: 14, top: 10, bottom: 40 };
  const points = series.flatMap((one) => one.points).filter((p) => p[0] !== null && p[1] !== null);
  const scale = (values, from, to, log, zero) => {
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (zero && !log) low = Math.min(0, low);
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (zero ? 0 : 0.5), high + 0.5];
    const f = log ? Math.log10 : (v) => v;
    const place = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
    return { place, ticks: log ? decades(low, high) : ticks(low, high) };
  };
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "tk-chart", role: "img", "aria-label": `${y} over ${x}` });
  if (!points.length) {
    picture.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing to show"));
    return picture;
  }
  const across = scale(points.map((p) => p[0]), edge.left, width - edge.right, log, zero);
  const up = scale(points.map((p) => p[1]), height - edge.bottom, edge.top, false, zero);
  for (const tick of up.ticks)
    picture.append(
      svg("line", { x1: edge.left, x2: width - edge.right, y1: up.place(tick), y2: up.place(tick), class: "tk-grid" }),
      svg("text", { x: edge.left - 6, y: up.place(tick) + 4, "text-anchor": "end" }, brief(tick)));
  for (const tick of across.ticks)
    picture.append(svg("text", { x: across.place(tick), y: height - edge.bottom + 16, "text-anchor": "middle" }, brief(tick)));
  picture.append(
    svg("text", { x: (edge.left + width - edge.right) / 2, y: height - 6, "text-anchor": "middle" }, x),
    svg("text", { transform: `translate(13 ${(height - edge.bottom + edge.top) / 2}) rotate(-90)`, "text-anchor": "middle" }, y));
  series.forEach((one, i) => {
    const told = one.points.filter((p) => p[0] !== null && p[1] !== null);
    const mark = one.mark ?? i;
    if (one.line)
      picture.append(svg("path", { class: `tk-line tk-hue-${mark % 6}`, d: told.map((p, j) => `${j ? "L" : "M"}${across.place(p[0])} ${up.place(p[1])}`).join("") }));
    else
      for (const p of told) {
        const dot = svg("path", { class: `tk-mark tk-hue-${mark % 6}`, d: shape(mark, across.place(p[0]), up.place(p[1])), tabindex: 0, role: "img", "aria-label": p[2] ?? one.name });
        dot.append(svg("title", {}, p[2] ?? one.name));
        picture.append(dot);
      }
  });
  const key = h("div", { class: "tk-key" }, series.filter((one) => one.name).map((one, i) => {
    const mark = one.mark ?? i;
    const sign = svg("svg", { viewBox: "0 0 16 12", width: 16, height: 12, "aria-hidden": "true" },
      one.line ? svg("path", { class: `tk-line tk-hue-${mark % 6}`, d: "M0 6L16 6" }) : svg("path", { class: `tk-mark tk-hue-${mark % 6}`, d: shape(mark, 8, 6) }));
    return h("span", {}, sign, one.name);
  }));
  return h("figure", { class: "tk-figure" }, picture, series.length > 1 ? key : null);
}

// Marks differ in shape too, for readers who cannot tell the colours apart.
function shape(mark, x, y) {
  const r = 5;
  return [
    `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
    `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    `M${x} ${y - r}l${r} ${2 * r}h${-2 * r}z`,
    `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`,
    `M${x} ${y + r}l${r} ${-2 * r}h${-2 * r}z`,
    `M${x - r} ${y - 2}h3v-3h4v3h3v4h-3v3h-4v-3h-3z`,
  ][mark % 6];
}

function ticks(low, high) {
  const raw = (high - low) / 4, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * size).find((s) => s >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return found;
}

function decades(low, high) {
  const found = [];
  for (let e = Math.ceil(Math.log10(low)); e <= Math.floor(Math.log10(high)); e++) found.push(10 ** e);
  return found.length > 1 ? found : [low, high];
}

const brief = (v) => (v === 0 ? "0" : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(1).replace("e+", "e") : `${+v.toPrecision(3)}`);
