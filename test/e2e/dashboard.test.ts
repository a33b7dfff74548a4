/** The page in a real browser, during a real run. Skips, and says so, where there is no Chromium. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, workerArgs } from "./processes.ts";
import { writeTinyJob } from "./tinyjob.ts";

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", process.env.CHROMIUM ?? ""];
const executablePath = BROWSERS.find((path) => path !== "" && existsSync(path));
if (executablePath === undefined) console.log("no Chromium here (CHROMIUM names one): the page is not tested");

describe.skipIf(executablePath === undefined)("the page", () => {
  const processes = createProcesses();
  let browser: Browser;
  let dir = "";

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath as string, args: ["--no-sandbox"] });
  });
  afterAll(() => browser?.close());
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "zoswarm-page-"));
  });
  afterEach(async () => {
    await processes.killAll();
    await rm(dir, { recursive: true, force: true });
  });

  async function running(steps: number) {
    const { job } = await writeTinyJob(dir, { job: { steps } });
    const coordinator = processes.start("coordinator", coordinatorArgs(job, join(dir, "data")));
    const page = await pageAddress(coordinator);
    const address = await joinAddress(coordinator);
    const join_ = () => processes.start("worker", workerArgs(address, join(dir, "ada"), ["--name", "ada"]));
    return { coordinator, page, join: join_ };
  }

  /** A tab that fails the test on any error of the page. */
  async function open(address: string, options: Parameters<Browser["newPage"]>[0] = {}) {
    const page = await browser.newPage(options);
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await page.goto(address);
    return { page, errors };
  }

  const points = async (page: Page) => Number(await page.getAttribute("figure.chart", "data-points"));
  const morePointsThan = (page: Page, n: number) =>
    page.waitForFunction((least) => Number(document.querySelector<HTMLElement>("figure.chart")?.dataset.points) > least, n);

  test("the loss line grows during a run, a row stands for each worker, and keys read the line", async () => {
    const { page: address, join: joinIn } = await running(20_000);
    const { page, errors } = await open(address);
    await page.getByText("Nobody has joined yet").waitFor();
    expect(await points(page)).toBe(0);
    const worker = joinIn();
    await morePointsThan(page, 2);
    const before = await points(page);
    await morePointsThan(page, before + 2);

    const row = page.locator("tr[data-peer]");
    await row.locator(".agreement.agrees").waitFor();
    expect(await row.count()).toBe(1);
    expect(await row.textContent()).toContain("ada");

    const slider = page.getByRole("slider");
    await slider.focus();
    await page.keyboard.press("Home");
    expect(await slider.getAttribute("aria-valuetext")).toMatch(/^After [01] steps: training loss/);
    // One key is one step, and the step that is read stays, also where a pixel holds several and the axis moves beneath the cursor.
    const reads = (step: number) => page.locator(`[role="slider"][aria-valuenow="${step}"]`).waitFor();
    await page.setViewportSize({ width: 360, height: 740 });
    await morePointsThan(page, 100);
    await page.keyboard.press("Home");
    for (let step = 1; step <= 5; step++) {
      await page.keyboard.press("ArrowRight");
      await reads(step);
    }
    await morePointsThan(page, 400);
    await page.keyboard.press("ArrowRight");
    await reads(6);
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => Number(document.querySelector('[role="slider"]')?.getAttribute("aria-valuenow")) > 400);
    await page.setViewportSize({ width: 1280, height: 720 });

    // A worker that is gone stays in its row, as gone.
    worker.kill("SIGKILL");
    await row.getByText("left", { exact: true }).waitFor();
    expect(errors).toEqual([]);
  });

  test("a phone sees all of it without scrolling sideways, in the dark as well", async () => {
    const { coordinator, page: address, join: joinIn } = await running(20_000);
    joinIn();
    await coordinator.line(/^step 2\//);
    const { page, errors } = await open(address, { viewport: { width: 360, height: 740 }, colorScheme: "dark", isMobile: true });
    await morePointsThan(page, 0);
    await page.locator("li[data-peer]").waitFor();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    const [red = 255, green = 255, blue = 255] = await page.evaluate(() =>
      (getComputedStyle(document.body).backgroundColor.match(/\d+/g) ?? []).map(Number),
    );
    expect(Math.max(red, green, blue)).toBeLessThan(64);
    expect(errors).toEqual([]);
  });
});
