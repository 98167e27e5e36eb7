// A line or scatter chart that follows the theme.
//   series: [{ name, points: [[x, y, description, { tag, low, high }], …], line: bool, mark: number }]; a point's
//   description is its tooltip, its tag is written beside it, and from low to high is its interval
function chart({ series, x, y, width = 520, height = 240, log = false, zero = true }) {
  const lines = series.map((s, i) => ({ ...s, mark: s.mark ?? i, points: s.points.filter(hasBothValues) }));
  const points = lines.flatMap((s) => s.points);
  const tagged = points.filter((p) => p[3]?.tag), longest = Math.max(0, ...tagged.map((p) => p[3].tag.length));
  const frame = { left: 58, right: width - 14 - (longest && 14 + 6.2 * longest), top: 10, bottom: height - 40 };
  const label = `${y} over ${x}`;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "tk-chart", role: "img", "aria-label": label });
  if (!points.length) {
    picture.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing to show"));
    return picture;
  }
  const scales = {
    x: scale(points.map((p) => p[0]), frame.left, frame.right, log, zero),
    y: scale(points.flatMap((p) => [p[1], p[3]?.low, p[3]?.high]).filter((v) => !isNothing(v)), frame.bottom, frame.top, false, zero),
  };
  picture.append(
    ...axes(scales, frame),
    svg("text", { x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, x),
    svg("text", { transform: `translate(13 ${(frame.bottom + frame.top) / 2}) rotate(-90)`, "text-anchor": "middle" }, y),
    ...intervals(points, scales), ...tags(tagged, scales, frame),
    ...lines.flatMap((s) => plotted(s, scales)));
  return h("figure", { class: "tk-figure" }, picture, series.length > 1 ? legend(lines) : null);
}

const hasBothValues = (point) => point[0] !== null && point[1] !== null;

// Where values are drawn, between two coordinates, and the ticks. zero: the axis begins at 0 or below.
function scale(values, from, to, log, zero) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (zero && !log) low = Math.min(0, low);
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (zero ? 0 : 0.5), high + 0.5];
  const f = log ? Math.log10 : (v) => v;
  const place = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
  return { place, ticks: log ? decades(low, high) : ticks(low, high) };
}

function axes(scales, { left, right, bottom }) {
  const horizontal = scales.y.ticks.flatMap((tick) => {
    const height = scales.y.place(tick);
    return [
      svg("line", { x1: left, x2: right, y1: height, y2: height, class: "tk-grid" }),
      svg("text", { x: left - 6, y: height + 4, "text-anchor": "end" }, tickLabel(tick))];
  });
  const vertical = scales.x.ticks.map((tick) =>
    svg("text", { x: scales.x.place(tick), y: bottom + 16, "text-anchor": "middle" }, tickLabel(tick)));
  return [...horizontal, ...vertical];
}

// The elements of one series: a path, or a mark for each point.
function plotted({ name, points, line, mark }, scales) {
  const place = ([x, y]) => [scales.x.place(x), scales.y.place(y)];
  if (line) {
    const d = points.map((p, i) => `${i ? "L" : "M"}${place(p).join(" ")}`).join("");
    return [svg("path", { class: `tk-line tk-hue-${mark % 6}`, d })];
  }
  return points.map((p) => {
    const label = p[2] ?? name;
    const properties = { d: shape(mark, ...place(p)), tabindex: 0, role: "img", "aria-label": label };
    return svg("path", { class: `tk-mark tk-hue-${mark % 6}`, ...properties }, svg("title", {}, label));
  });
}

function intervals(points, scales) {
  const known = points.filter((p) => !isNothing(p[3]?.low) && !isNothing(p[3]?.high));
  return known.map(([x, , , { low, high }]) => {
    const at = scales.x.place(x);
    return svg("line", { class: "tk-interval", x1: at, x2: at, y1: scales.y.place(low), y2: scales.y.place(high) });
  });
}

// The tags of points on the right of the chart, where none covers another, each joined to its point.
function tags(points, scales, { right, top, bottom }) {
  const placed = points.map((p) => [scales.x.place(p[0]), scales.y.place(p[1]), p[3].tag])
    .sort((a, b) => a[1] - b[1] || b[0] - a[0]);
  const gap = Math.min(13, (bottom - top) / placed.length);
  const heights = [];
  placed.forEach(([, y], i) => heights.push(i ? Math.max(y, heights[i - 1] + gap) : y));
  for (let i = heights.length - 1, end = bottom; i >= 0; end = heights[i] - gap, i--) heights[i] = Math.min(heights[i], end);
  return placed.flatMap(([x, y, tag], i) => [
    svg("path", { class: "tk-leader", d: `M${x} ${y}L${right + 8} ${heights[i]}` }),
    svg("text", { x: right + 11, y: heights[i] + 4, class: "tk-tag" }, tag)]);
}

function legend(series) {
  return h("div", { class: "tk-key" }, series.filter((s) => s.name).map(({ name, line, mark }) => {
    const sample = line ? svg("path", { class: `tk-line tk-hue-${mark % 6}`, d: "M0 6L16 6" })
      : svg("path", { class: `tk-mark tk-hue-${mark % 6}`, d: shape(mark, 8, 6) });
    return h("span", {}, svg("svg", { viewBox: "0 0 16 12", width: 16, height: 12, "aria-hidden": "true" }, sample), name);
  }));
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
  const values = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step)
    values.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return values;
}

function decades(low, high) {
  const values = [];
  for (let e = Math.ceil(Math.log10(low)); e <= Math.floor(Math.log10(high)); e++) values.push(10 ** e);
  return values.length > 1 ? values : [low, high];
}

function tickLabel(v) {
  if (v === 0) return "0";
  return Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(1).replace("e+", "e") : `${+v.toPrecision(3)}`;
}
