import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readDataset } from "./dataset.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-dataset-"));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(content: string): string {
  const file = join(folder, "rows.jsonl");
  writeFileSync(file, content);
  return file;
}

describe("readDataset", () => {
  it("reads rows, past a byte order mark, blank lines and Windows line ends", async () => {
    const file = fileOf('\uFEFF{"text": "one", "label": 0}\r\n\r\n{"text": "zwei\\n", "label": 2}\r\n');
    expect(await readDataset(file)).toEqual({
      ok: true,
      rows: [
        { text: "one", label: 0 },
        { text: "zwei\n", label: 2 },
      ],
      classes: 3,
    });
  });

  it("names the file and the line of every fault", async () => {
    const file = fileOf('{"text": "one", "label": 0}\nnonsense\n{"text": "", "label": 0}\n{"text": "x", "label": -1}\n{"text": "x"}\n');
    const read = await readDataset(file);
    expect(read).toMatchObject({ ok: false, code: "dataset-malformed" });
    if (read.ok) return;
    const lines = read.message.split("\n");
    expect(lines.map((line) => line.slice(0, `${file}:1`.length))).toEqual([`${file}:2`, `${file}:3`, `${file}:4`, `${file}:5`]);
    expect(lines[0]).toContain("is not JSON");
    expect(lines[1]).toContain("text: must not be empty");
    expect(lines[2]).toContain("label:");
  });

  it("refuses keys that it does not know and labels beyond the model's classes", async () => {
    const file = fileOf('{"text": "one", "label": 2}\n{"text": "two", "label": 0, "lable": 1}\n');
    const read = await readDataset(file, { classes: 2 });
    expect(read).toMatchObject({ ok: false, code: "dataset-malformed" });
    if (read.ok) return;
    expect(read.message).toContain(`${file}:1: label: 2 is not 0 to 1`);
    expect(read.message).toContain("lable");
  });

  it("does not print a whole broken file", async () => {
    const read = await readDataset(fileOf("nonsense\n".repeat(1000)));
    expect(!read.ok && read.message.split("\n")).toHaveLength(6);
  });

  it("says so where there is nothing to read", async () => {
    expect(await readDataset(fileOf("\n"))).toMatchObject({ ok: false, code: "dataset-empty" });
    expect(await readDataset(join(folder, "none.jsonl"))).toMatchObject({ ok: false, code: "dataset-unreadable" });
    expect(await readDataset(folder)).toMatchObject({ ok: false, code: "dataset-unreadable" });
  });
});
