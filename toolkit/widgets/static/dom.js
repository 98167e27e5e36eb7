// Elements and controls that all widgets share. All text is inserted as text: nothing that a model has written is ever
// parsed as HTML.

// An element: h("button", { class: "on", onclick: f, title: "…" }, "text", child, …).
function h(name, properties = {}, ...children) {
  return assemble(document.createElement(name), properties, children);
}

function svg(name, properties = {}, ...children) {
  return assemble(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);
}

function assemble(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (isNothing(value)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach(([k, v]) => element.style.setProperty(k, v));
    else if (name in element && typeof value !== "string" && !(element instanceof SVGElement)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => !isNothing(child)));
  return element;
}

const isNothing = (value) => value === null || value === undefined || value === false;

// A tooltip on elements that match the selector; content(element) returns what it shows, null for no tooltip. It is in
// the browser's top layer, since a notebook's outputs clip overflow. Returns a function that hides it.
let tooltipCount = 0;
function tooltip(root, selector, content, signal) {
  const id = `tk-tip-${++tooltipCount}-${Date.now()}`;
  const box = h("div", { class: "tk-tip", role: "tooltip", id, popover: "manual" });
  root.append(box);
  const hide = () => box.matches(":popover-open") && box.hidePopover();
  const show = (event) => {
    const element = event.target.closest?.(selector);
    if (!element || !root.contains(element)) return;
    const tip = content(element);
    if (!tip) return hide();
    box.replaceChildren(tip);
    element.setAttribute("aria-describedby", box.id);
    if (!box.matches(":popover-open")) box.showPopover();
    placeBeside(box, element.getClientRects()[0] ?? element.getBoundingClientRect());
  };
  const options = { signal };
  root.addEventListener("pointerover", show, options);
  root.addEventListener("focusin", show, options);
  root.addEventListener("pointerleave", hide, options);
  root.addEventListener("focusout", hide, options);
  root.addEventListener("pointerout", (event) => !event.relatedTarget?.closest?.(selector) && hide(), options);
  root.addEventListener("keydown", (event) => event.key === "Escape" && hide(), options);
  return hide;
}

// Below the rectangle where the window has room for the box, else above it.
function placeBeside(box, rectangle) {
  const { left, top, bottom } = rectangle;
  const below = bottom + 4 + box.offsetHeight <= innerHeight || top < box.offsetHeight;
  const y = below ? Math.min(bottom + 4, innerHeight - box.offsetHeight - 2) : top - box.offsetHeight - 4;
  box.style.left = `${Math.max(2, Math.min(left, innerWidth - box.offsetWidth - 4))}px`;
  box.style.top = `${Math.max(2, y)}px`;
}

// Roving tabindex: one of the elements that match the selector is a tab stop; arrows, Home and End move to the others.
// steps: key → by how many elements it moves.
function rovingFocus(box, selector, signal, steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }) {
  const all = () => [...box.querySelectorAll(selector)];
  const makeTabStop = (element) => {
    all().forEach((other) => (other.tabIndex = -1));
    element.tabIndex = 0;
  };
  box.addEventListener("keydown", (event) => {
    const current = event.target.closest(selector);
    if (!current) return;
    const elements = all();
    const target = event.key === "Home" ? elements[0] : event.key === "End" ? elements.at(-1)
      : event.key in steps ? elements[elements.indexOf(current) + steps[event.key]] : null;
    if (!target) return;
    event.preventDefault();
    event.stopPropagation();
    makeTabStop(target);
    target.focus();
  }, { signal });
  box.addEventListener("focusin", (event) => {
    const element = event.target.closest(selector);
    if (element) makeTabStop(element);
  }, { signal });
  return { reset: () => all().forEach((element, i) => (element.tabIndex = i ? -1 : 0)) };
}

// A labelled control: field("temperature", h("input", …)).
function field(label, control, note) {
  return h("label", { class: "tk-field" }, h("span", {}, label), control, note);
}

// options: [[value, label], …].
function select(options, value, onchange) {
  const box = h("select", { onchange: () => onchange(box.value) });
  for (const [name, label] of options) box.append(h("option", { value: name, selected: name === value }, label));
  return box;
}

// A button whose text is one sign.
function signButton(label, sign, onclick, disabled) {
  return h("button", { type: "button", "aria-label": label, title: label, disabled, onclick }, sign);
}

// Focuses the first of some elements, by accessible name, that is there and enabled; else the other element.
function focusByLabel(box, labels, fallback) {
  const elements = [...box.querySelectorAll("[aria-label]")].filter((element) => !element.disabled);
  const targets = labels.map((label) => elements.find((element) => element.ariaLabel === label));
  (targets.find(Boolean) ?? fallback).focus();
}

// Fills and opens a section with source code, a button that copies it and one that closes the section.
function showSource(section, title, source, onclose) {
  const text = h("pre", { class: "tk-code", tabindex: "0" }, source);
  const copy = h("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(source);
      copy.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(text);
      copy.textContent = "selected: copy it with Ctrl+C";
    }
  } }, "copy");
  const close = h("button", { type: "button", onclick: () => { section.hidden = true; onclose(); } }, "close");
  section.hidden = false;
  section.replaceChildren(h("div", { class: "tk-bar tk-source-bar" }, h("b", {}, title), copy, close), text);
  copy.focus();
}

// Formatted numbers. null, which means unknown, is a dash.
const percent = (p, digits = 1) => (isNothing(p) ? "–" : `${(100 * p).toFixed(digits)} %`);

// A whole number in full, a fraction with so many decimals, but at most four significant digits.
function number(x, digits = 2) {
  if (isNothing(x)) return "–";
  if (Number.isInteger(x)) return x.toLocaleString("en");
  const size = Math.abs(x);
  if (size < 1e-3) return x.toExponential(1);
  const decimals = Math.max(0, Math.min(digits, 3 - Math.floor(Math.log10(size))));
  return Number(x.toPrecision(4)).toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

const plural = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

// Places for error messages beside their cause: place(name) makes one; show({ name: message, … }) fills all of them.
// A message whose name has no place goes to the one named fallback.
function errorPlaces(className, fallback) {
  const boxes = new Map();
  const place = (name) => {
    boxes.set(name, h("div", { class: `tk-error ${className}`, role: "alert" }));
    return boxes.get(name);
  };
  const show = (errors) => {
    const placed = Object.entries(errors).map(([name, text]) => [boxes.has(name) ? name : fallback, text]);
    const texts = new Map(placed);
    for (const [name, box] of boxes) box.textContent = texts.get(name) ?? "";
  };
  return { place, show };
}
