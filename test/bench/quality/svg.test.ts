import { describe, expect, it } from "vitest";
import { type Chart, chartSvg, ticksOf } from "./svg.ts";

const chart: Chart = {
  title: 'Loss & time <of> "two"',
  x: { label: "forward passes", scale: "linear" },
  y: { label: "held-out loss (nats)", scale: "linear" },
  series: [
    {
      name: "zoswarm",
      runs: [1, 2, 3].map((seed) => Array.from({ length: 300 }, (_, i) => ({ x: 16 * i, y: 4 - Math.log1p(i) / (5 + seed) }))),
    },
    { name: "a dot", runs: [[{ x: 100, y: 3.5, label: "100 %" }]] },
  ],
  references: [{ name: "MeZO", at: 3.5 }],
};

/** Names of elements in the order they close; throws where tags do not match, or an attribute or text is not escaped. */
function elementsOf(xml: string): string[] {
  const open: string[] = [];
  const closed: string[] = [];
  const rest = xml.replace(/<(\/?)([a-zA-Z]+)((?: [a-zA-Z0-9:-]+="[^"<&]*")*)(\/?)>|([^<&]|&#\d+;)/g, (_, end, name, __, alone) => {
    if (name === undefined) return "";
    if (end === "/" && open.pop() !== name) throw new Error(`</${name}> closes another`);
    if (end === "" && alone === "") open.push(name);
    if (end === "/" || alone === "/") closed.push(name);
    return "";
  });
  if (rest !== "" || open.length > 0) throw new Error(`not well formed: ${rest.slice(0, 80)} ${open}`);
  return closed;
}

const numbersOf = (svg: string, tag: string, attribute: string) =>
  [...svg.matchAll(new RegExp(`<${tag} [^>]*${attribute}="([^"]*)"`, "g"))].map(([, value]) => Number(value));

describe("chartSvg", () => {
  it("is well-formed, small, the same each time, and escapes what it is told", () => {
    const svg = chartSvg(chart);
    expect(elementsOf(svg).at(-1)).toBe("svg");
    expect(svg).toContain("<title>Loss &#38; time &#60;of&#62; &#34;two&#34;</title>");
    expect(svg.length).toBeLessThan(30_000);
    expect(chartSvg(structuredClone(chart))).toBe(svg);
    expect(svg).not.toMatch(/NaN|Infinity|undefined|<script/);
  });

  it("draws the mean of runs, a band from least to most, a dot for a labelled point, and a dashed level across", () => {
    const svg = chartSvg({
      ...chart,
      series: [
        {
          name: "mean",
          runs: [
            [
              { x: 0, y: 0 },
              { x: 10, y: 10 },
            ],
            [
              { x: 0, y: 0 },
              { x: 5, y: 0 },
              { x: 10, y: 0, label: "end" },
            ],
          ],
        },
      ],
      references: [{ name: "level", at: 10 }],
    });
    expect(svg.match(/<polygon/g)).toHaveLength(1);
    expect(svg.match(/<circle/g)).toHaveLength(1);
    const pairsOf = (element: RegExp) => (element.exec(svg)?.[1] ?? "").split(" ").map((pair) => pair.split(",").map(Number));
    const [first, middle, last] = pairsOf(/<polyline points="([^"]*)"[^>]*stroke-width="2"/) as [number[], number[], number[]];
    const level = pairsOf(/<polyline points="([^"]*)"[^>]*stroke-dasharray/) as [number[], number[]];
    // The mean ends at 5, half way up to the level at 10.
    expect(last[1]).toBeCloseTo(((first[1] as number) + (level[0][1] as number)) / 2, 0);
    expect(middle[1]).toBeCloseTo((3 * (first[1] as number) + (level[0][1] as number)) / 4, 0);
    expect([level[0][0], level[1][0]]).toEqual([first[0], last[0]]);
  });

  it("spaces powers of two evenly on logarithmic axes, and leaves out what cannot be there", () => {
    const runs = [
      [1, 4, 16, 64, 256]
        .map((x) => ({ x, y: 100 / x, label: `${x}` }))
        .concat({ x: 0, y: 1, label: "never" }, { x: 2, y: Number.NaN, label: "no" }),
    ];
    const svg = chartSvg({
      ...chart,
      x: { label: "workers", scale: "log2" },
      y: { label: "s", scale: "log2" },
      series: [{ name: "t", runs }],
      references: [],
    });
    const places = numbersOf(svg, "circle", "cx");
    const gaps = places.slice(1).map((place, i) => place - (places[i] as number));
    expect(places).toHaveLength(5);
    for (const gap of gaps) expect(gap).toBeCloseTo(gaps[0] as number, 0);
    expect(svg).not.toMatch(/never|NaN/);
  });

  it("cuts to a range that is given", () => {
    const svg = chartSvg({ ...chart, y: { ...chart.y, range: [3.2, 3.6] } });
    expect(svg).toContain(">3.6</text>");
    expect(svg).not.toContain(">3.8</text>");
  });

  it("says that there is nothing to draw", () => {
    expect(() => chartSvg({ ...chart, series: [{ name: "none", runs: [[], [{ x: 1, y: Number.NaN }]] }] })).toThrow(/no point to draw/);
  });
});

describe("ticksOf", () => {
  it.each([
    ["linear", 0, 1600],
    ["linear", 3.41, 4.27],
    ["linear", -0.003, 0.0021],
    ["log2", 1, 256],
    ["log2", 0.3, 9000],
    ["log2", 1, 2 ** 40],
  ] as const)("gives a few round values within the range: %s from %d to %d", (scale, from, to) => {
    const ticks = ticksOf(scale, from, to);
    expect(ticks.length).toBeGreaterThanOrEqual(3);
    expect(ticks.length).toBeLessThanOrEqual(10);
    for (const tick of ticks) {
      expect(tick).toBeGreaterThanOrEqual(from);
      expect(tick).toBeLessThanOrEqual(to);
      if (scale === "log2") expect(Number.isInteger(Math.log2(tick))).toBe(true);
      else expect(String(tick).length).toBeLessThan(8);
    }
  });
});
