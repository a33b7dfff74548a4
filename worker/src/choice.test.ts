import { expect, test } from "vitest";
import { type Candidate, choose, type Figures, sayChoice } from "./choice.ts";

const offer = (over: Partial<Candidate> = {}): Candidate => ({ step: 799, toFetch: 13_000_000, tail: 12, ...over });
const figures = (over: Partial<Figures<Candidate>> = {}): Figures<Candidate> => ({
  offers: [offer()],
  steps: 812,
  secondsPerStep: 0.01,
  bytesPerSecond: 10_000_000,
  secondsToLoad: 0.2,
  ...over,
});

test("a snapshot is taken where the download, unpacking and the steps behind it take less than all steps", () => {
  // 1.3 + 0.2 + 0.12 seconds against 8.12.
  const choice = choose(figures());
  expect(choice.snapshot).toEqual(offer());
  expect(choice.quickest?.seconds).toBeCloseTo(1.62, 9);
  expect(choice.replaySeconds).toBeCloseTo(8.12, 9);
  expect(sayChoice(choice)).toBe(
    "catching up by snapshot: the snapshot after step 800 (13.0 MB at 10.0 MB/s) and 12 steps behind it take about 1.6 s; a replay of 812 steps at 10 ms takes about 8.1 s",
  );
});

test("a slow line, quick steps or slow unpacking make a replay the quicker way, and the line says so", () => {
  for (const slow of [{ bytesPerSecond: 1_000_000 }, { secondsPerStep: 0.0009 }, { secondsToLoad: 9 }])
    expect(choose(figures(slow)).snapshot).toBeNull();
  expect(sayChoice(choose(figures({ secondsPerStep: 0.0009 })))).toBe(
    "catching up by replay: a replay of 812 steps at 0.90 ms takes about 731 ms; the snapshot after step 800 (13.0 MB at 10.0 MB/s) and 12 steps behind it take about 1.5 s",
  );
});

test("of several the quickest is taken: an older one on this disk may beat a newer one elsewhere", () => {
  const here = offer({ step: 699, toFetch: 0, tail: 112 });
  expect(choose(figures({ offers: [offer(), here] })).snapshot).toEqual(here);
  expect(sayChoice(choose(figures({ offers: [here] })))).toContain("(it is on this disk)");
  expect(choose(figures({ offers: [offer(), offer({ step: 99, toFetch: 0, tail: 712 })] })).snapshot).toEqual(offer());
});

test("without an offer, or without any measured download, all steps are replayed", () => {
  expect(sayChoice(choose(figures({ offers: [] })))).toBe(
    "catching up by replay: a replay of 812 steps at 10 ms takes about 8.1 s; nobody offers a snapshot",
  );
  expect(choose(figures({ bytesPerSecond: null })).snapshot).toBeNull();
  expect(choose(figures({ bytesPerSecond: null, offers: [offer({ toFetch: 0 })] })).snapshot).not.toBeNull();
});
