/**
 * A line chart as SVG text, for the README: dark ink on a white ground of its own, so that it reads on light and on dark pages. The same
 * numbers give the same bytes; there is no script in it.
 */

export interface Point {
  x: number;
  y: number;
  /** A word at the point, which is then drawn as a dot. */
  label?: string;
}

export interface Axis {
  /** With its unit: "time (s)". */
  label: string;
  scale: "linear" | "log2";
  /** What is shown; default: all that there is, up to whole ticks. What lies outside is cut off. */
  range?: readonly [number, number];
}

export interface Chart {
  title: string;
  x: Axis;
  y: Axis;
  /** Several runs are one line, their mean as far as all of them go, in a band from the least to the most. */
  series: { name: string; runs: readonly (readonly Point[])[] }[];
  /** Dashed: a level, or a line of points. */
  references?: { name: string; at: number | readonly Point[] }[];
}

const WIDTH = 760;
const HEIGHT = 440;
const LEFT = 72;
const RIGHT = 24;
const BOTTOM = 56;
const FONT = 13;
/** Beside a point, for its label. */
const ROOM = 48;
/** Of Okabe and Ito (2008): also people who see no red tell them apart. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#3d9fd6"];
const REFERENCE_COLOURS = ["#555555", "#9a6324", "#4b6e9c"];
const INK = "#24292f";
const GRID = "#e1e4e8";
/** Points of a line at most: it is 700 pixels wide. */
const POINTS_MAX = 160;
const TICKS = 6;

/** Draws a chart. Points that are no numbers, or not above 0 on a logarithmic axis, are left out. Throws where nothing is left. */
export function chartSvg({ title, x, y, series, references = [] }: Chart): string {
  const isShown = (point: Point) => isOn(x, point.x) && isOn(y, point.y);
  const lines = series.map(({ name, runs }) => ({ name, ...meanOf(runs.map((run) => run.filter(isShown))) }));
  const all = lines.flatMap(({ mean, least, most }) => [...mean, ...least, ...most]);
  if (all.length === 0) throw new Error(`chart "${title}": no point to draw`);
  const dashed = references.map(({ name, at }) => ({ name, at: typeof at === "number" ? at : at.filter(isShown) }));
  const ends = dashed.flatMap(({ at }) => (typeof at === "number" ? [] : at));
  const levels = dashed.flatMap(({ at }) => (typeof at === "number" && isOn(y, at) ? [at] : []));
  const across = scaleOf(
    x,
    [...all, ...ends].map((point) => point.x),
  );
  const up = scaleOf(y, [...all.map((point) => point.y), ...ends.map((point) => point.y), ...levels]);

  const names = [
    ...lines.map(({ name }, i) => ({ name, colour: colourOf(COLOURS, i), isDashed: false })),
    ...dashed.map(({ name }, i) => ({ name, colour: colourOf(REFERENCE_COLOURS, i), isDashed: true })),
  ];
  const { legend, rows } = legendOf(names);
  const top = 44 + 20 * rows;
  const px = (value: number) => LEFT + across.share(value) * (WIDTH - LEFT - RIGHT);
  const py = (value: number) => HEIGHT - BOTTOM - up.share(value) * (HEIGHT - BOTTOM - top);
  const path = (points: readonly Point[]) => points.map((point) => `${round(px(point.x))},${round(py(point.y))}`).join(" ");

  const grid = [
    ...across.ticks.flatMap((tick) => [
      line(px(tick), top, px(tick), HEIGHT - BOTTOM, GRID),
      text(px(tick), HEIGHT - BOTTOM + 18, "middle", figure(tick)),
    ]),
    ...up.ticks.flatMap((tick) => [line(LEFT, py(tick), WIDTH - RIGHT, py(tick), GRID), text(LEFT - 8, py(tick) + 4, "end", figure(tick))]),
  ];
  const drawn = [
    ...lines.map(({ least, most }, i) =>
      least.length === 0
        ? ""
        : `<polygon points="${path([...most, ...least.toReversed()])}" fill="${colourOf(COLOURS, i)}" opacity="0.18"/>`,
    ),
    ...dashed.map(({ at }, i) => {
      const points = typeof at === "number" ? [across.from, across.to].map((end) => ({ x: end, y: at })) : at;
      return `<polyline points="${path(points)}" fill="none" stroke="${colourOf(REFERENCE_COLOURS, i)}" stroke-width="1.5" stroke-dasharray="6 4"/>`;
    }),
    ...lines.map(
      ({ mean }, i) =>
        `<polyline points="${path(mean)}" fill="none" stroke="${colourOf(COLOURS, i)}" stroke-width="2" stroke-linejoin="round"/>`,
    ),
  ];
  // Of two falling lines the upper one is named above its points and the lower one below them; nothing is written over the edges.
  const dots = lines.flatMap(({ mean }, i) =>
    mean.flatMap(({ label, ...point }) => {
      if (label === undefined) return [];
      const [x, y, colour] = [px(point.x), py(point.y), colourOf(COLOURS, i)];
      const isLeft = x > LEFT + ROOM && (i % 2 === 1 || x > WIDTH - RIGHT - ROOM);
      return [
        `<circle cx="${round(x)}" cy="${round(y)}" r="4" fill="${colour}"/>`,
        text(x + (isLeft ? -7 : 7), y + (i % 2 === 1 ? 18 : -8), isLeft ? "end" : "start", label, colour),
      ];
    }),
  );
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="${FONT}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" rx="6" fill="#ffffff"/>`,
    `<clipPath id="plot"><rect x="${LEFT}" y="${top}" width="${WIDTH - LEFT - RIGHT}" height="${HEIGHT - BOTTOM - top}"/></clipPath>`,
    `<text x="${LEFT}" y="26" font-size="15" font-weight="600" fill="${INK}">${escaped(title)}</text>`,
    ...legend,
    ...grid,
    `<g clip-path="url(#plot)">${drawn.join("")}</g>`,
    ...dots,
    line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, INK),
    line(LEFT, top, LEFT, HEIGHT - BOTTOM, INK),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "middle", x.label),
    `<text transform="translate(20 ${round((top + HEIGHT - BOTTOM) / 2)}) rotate(-90)" text-anchor="middle" fill="${INK}">${escaped(y.label)}</text>`,
    "</svg>",
  ]
    .filter((part) => part !== "")
    .join("\n")}\n`;
}

/** Round values between two, at most about six: multiples of 1, 2 or 5 times a power of ten, or powers of two. */
export function ticksOf(scale: Axis["scale"], from: number, to: number): number[] {
  if (scale === "log2") {
    const [least, most] = [Math.ceil(Math.log2(from)), Math.floor(Math.log2(to))];
    const by = Math.ceil((most - least + 1) / (TICKS + 4));
    return Array.from({ length: Math.floor((most - least) / by) + 1 }, (_, i) => 2 ** (least + i * by));
  }
  const step = stepOf(from, to);
  const first = Math.ceil(from / step - 1e-9);
  return Array.from({ length: Math.floor(to / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function stepOf(from: number, to: number): number {
  const rough = (to - from) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((one) => one * power >= rough * (1 - 1e-9)) ?? 10);
}

const isOn = ({ scale }: Axis, value: number) => Number.isFinite(value) && (scale === "linear" || value > 0);

/** From values to shares of an axis; its ends are the range that was asked for, else whole ticks around all values. */
function scaleOf({ scale, range }: Axis, values: readonly number[]) {
  const [least, most] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const [from, to] = range ?? whole(scale, least, most);
  const of = scale === "log2" ? Math.log2 : (value: number) => value;
  return { from, to, ticks: ticksOf(scale, from, to), share: (value: number) => (of(value) - of(from)) / (of(to) - of(from)) };
}

function whole(scale: Axis["scale"], least: number, most: number): [number, number] {
  if (scale === "log2") {
    const from = Math.floor(Math.log2(least));
    return [2 ** from, 2 ** Math.max(from + 1, Math.ceil(Math.log2(most)))];
  }
  if (least === most) return [least - 1, most + 1];
  const step = stepOf(least, most);
  return [step * Math.floor(least / step + 1e-9), step * Math.ceil(most / step - 1e-9)];
}

/** The mean of runs where all of them are, and between which values they lie; no band around a single one. */
function meanOf(runs: readonly (readonly Point[])[]): { mean: Point[]; least: Point[]; most: Point[] } {
  const some = runs.filter((run) => run.length > 0);
  if (some.length < 2) return { mean: thinned(some[0] ?? []), least: [], most: [] };
  const from = some.reduce((most, run) => Math.max(most, (run[0] as Point).x), Number.NEGATIVE_INFINITY);
  const to = some.reduce((least, run) => Math.min(least, (run.at(-1) as Point).x), Number.POSITIVE_INFINITY);
  const xs = [...new Set(some.flatMap((run) => run.map(({ x }) => x)))].filter((x) => x >= from && x <= to).sort((a, b) => a - b);
  const labels = new Map(some.flatMap((run) => run.map(({ x, label }) => [x, label] as const)));
  const at = thinned(xs).map((x) => ({ x, ys: some.map((run) => valueAt(run, x)) }));
  return {
    mean: at.map(({ x, ys }) => {
      const label = labels.get(x);
      return { x, y: ys.reduce((sum, y) => sum + y, 0) / ys.length, ...(label !== undefined && { label }) };
    }),
    least: at.map(({ x, ys }) => ({ x, y: ys.reduce((a, b) => Math.min(a, b)) })),
    most: at.map(({ x, ys }) => ({ x, y: ys.reduce((a, b) => Math.max(a, b)) })),
  };
}

/** Between its points a run is straight. */
function valueAt(run: readonly Point[], x: number): number {
  const after = run.findIndex((point) => point.x >= x);
  const [one, other] = [run[Math.max(0, after - 1)] as Point, run[after] as Point];
  return other.x === one.x ? other.y : one.y + ((other.y - one.y) * (x - one.x)) / (other.x - one.x);
}

function thinned<T>(all: readonly T[]): T[] {
  if (all.length <= POINTS_MAX) return [...all];
  return Array.from({ length: POINTS_MAX }, (_, i) => all[Math.round((i * (all.length - 1)) / (POINTS_MAX - 1))] as T);
}

/** A row of names, or several where one is too long; letters are about half as wide as high. */
function legendOf(names: readonly { name: string; colour: string; isDashed: boolean }[]): { legend: string[]; rows: number } {
  let [x, row] = [LEFT, 0];
  const legend = names.flatMap(({ name, colour, isDashed }) => {
    const width = 34 + 0.56 * FONT * name.length + 18;
    if (x > LEFT && x + width > WIDTH - RIGHT) [x, row] = [LEFT, row + 1];
    const at = x;
    x += width;
    const y = 44 + 20 * row;
    return [
      line(at, y, at + 24, y, colour, isDashed ? ' stroke-width="1.5" stroke-dasharray="6 4"' : ' stroke-width="2"'),
      text(at + 30, y + 4, "start", name),
    ];
  });
  return { legend, rows: row + 1 };
}

const colourOf = (colours: readonly string[], i: number) => colours[i % colours.length] as string;
const round = (value: number) => Number(value.toFixed(1));
const figure = (value: number) => Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 9 });
const line = (x1: number, y1: number, x2: number, y2: number, colour: string, more = "") =>
  `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="${colour}"${more}/>`;
const text = (x: number, y: number, anchor: "start" | "middle" | "end", words: string, colour = INK) =>
  `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" fill="${colour}">${escaped(words)}</text>`;
const escaped = (words: string) =>
  words.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`).replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]/g, "");
