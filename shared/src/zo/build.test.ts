import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { buildKernel } from "./build.ts";

it("kernel.wasm is what its source compiles to", { timeout: 60_000 }, async () => {
  const committed = readFileSync(new URL("kernel.wasm", import.meta.url));
  expect(Buffer.compare(await buildKernel(), committed), "run `npm run kernel` and commit kernel.wasm").toBe(0);
});
