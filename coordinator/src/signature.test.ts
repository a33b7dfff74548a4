import type { InspectedValue } from "@zoswarm/shared/model/inspect";
import { describe, expect, it } from "vitest";
import { type FilledBy, signatureOf } from "./signature.ts";

const value = (name: string, type: string, ...dimensions: (number | string | null)[]): InspectedValue => ({ name, type, dimensions });
const ids = value("input_ids", "int64", "batch", "sequence");
const READS = { columns: {}, reads: true, pad: 7 };

/** The source and dimensions of each input, or why not. */
function filled(declared: readonly InspectedValue[], options: { reads?: boolean; columns?: Record<string, FilledBy> } = {}) {
  const made = signatureOf(declared, { ...READS, ...options });
  if (!made.ok) return made.message;
  return Object.fromEntries(made.inputs.map(({ name, dims, source }) => [name, { ...source, dims }]));
}

describe("signatureOf", () => {
  it("fills what an encoder reads: ids with padding, mask, positions and types of tokens", () => {
    const dims = ["batch", "sequence"];
    const declared = [
      ids,
      value("attention_mask", "float", "batch", "sequence"),
      value("position_ids", "int32", "batch", "sequence"),
      value("token_type_ids", "int64", "batch", "sequence"),
    ];
    expect(filled(declared)).toEqual({
      input_ids: { from: "tokens", pad: 7, dims },
      attention_mask: { from: "mask", dims },
      position_ids: { from: "positions", dims },
      token_type_ids: { from: "constant", value: 0, dims },
    });
    expect(signatureOf(declared, READS)).toMatchObject({
      inputs: [{ type: "int64" }, { type: "float32" }, { type: "int32" }, { type: "int64" }],
      features: [],
    });
  });

  it("takes the only input of integers for the ids, whatever it is called, and refuses two", () => {
    expect(filled([value("anything", "int32", null, null)])).toEqual({
      anything: { from: "tokens", pad: 7, dims: ["batch", "sequence"] },
    });
    expect(filled([ids, value("decoder_input_ids", "int64", "batch", "sequence")])).toMatch(
      /^"input_ids" and "decoder_input_ids" would take the same tokens/,
    );
  });

  it("keeps a length that the model says, for everything that grows with the tokens", () => {
    const declared = [value("tokens", "int64", "n", 16), value("attention_mask", "int64", "n", 16), value("segment_ids", "int64", "n", 16)];
    const dims = ["batch", 16];
    expect(filled(declared)).toMatchObject({ tokens: { dims }, attention_mask: { dims }, segment_ids: { dims } });
  });

  it("takes positions for all examples together, a batch of a fixed size, and torch's mask of what is padding", () => {
    expect(filled([ids, value("position_ids", "int64", 1, "sequence")])).toMatchObject({ position_ids: { dims: [1, "sequence"] } });
    expect(filled([ids, value("cache_position", "int64", "sequence")])).toMatchObject({
      cache_position: { from: "positions", dims: ["sequence"] },
    });
    expect(filled([value("input_ids", "int64", 4, "sequence")])).toMatchObject({ input_ids: { dims: [4, "sequence"] } });
    expect(filled([ids, value("src_key_padding_mask", "bool", "batch", "sequence")])).toMatchObject({
      src_key_padding_mask: { from: "padding", dims: ["batch", "sequence"] },
    });
    expect(filled([value("input_ids", "int64", "sequence", "batch")])).toMatch(/^the input "input_ids" has the sequence before the batch/);
  });

  it("gives a decoder no past: sizes that vary are 0 but for the batch, and the branch without cache is taken", () => {
    const declared = [
      ids,
      value("past_key_values.0.key", "float", "batch", 4, "past_sequence", 32),
      value("past_key_values.0.value", "float", "batch", 4, null, 32),
      value("use_cache_branch", "bool", 1),
    ];
    expect(filled(declared)).toMatchObject({
      "past_key_values.0.key": { from: "constant", value: 0, dims: ["batch", 4, 0, 32] },
      "past_key_values.0.value": { from: "constant", value: 0, dims: ["batch", 4, 0, 32] },
      use_cache_branch: { from: "constant", value: 0, dims: [1] },
    });
  });

  it("starts a recurrent net from zeros", () => {
    const states = ["h0", "c_0", "initial_state", "hidden", "cell_in", "h"].map((name) => value(name, "float", 1, "batch", 8));
    const made = filled([ids, ...states]) as Record<string, unknown>;
    for (const { name } of states) expect(made[name], name).toEqual({ from: "constant", value: 0, dims: [1, "batch", 8] });
  });

  it("fills features from columns, in the model's order, before it looks at names", () => {
    const declared = [value("mask", "float", "n", 3, 2), value("size", "uint8", "n"), value("input_ids", "int64", "n", 4)];
    const columns = { input_ids: "codes", mask: "pixels", size: "size" };
    expect(signatureOf(declared, { columns, reads: false, pad: 0 })).toEqual({
      ok: true,
      inputs: [
        { name: "mask", type: "float32", dims: ["batch", 3, 2], source: { from: "feature", index: 0 } },
        { name: "size", type: "uint8", dims: ["batch"], source: { from: "feature", index: 1 } },
        { name: "input_ids", type: "int64", dims: ["batch", 4], source: { from: "feature", index: 2 } },
      ],
      features: [
        { input: "mask", column: "pixels", type: "float32", elements: 6 },
        { input: "size", column: "size", type: "uint8", elements: 1 },
        { input: "input_ids", column: "codes", type: "int64", elements: 4 },
      ],
    });
    expect(filled([ids, value("age", "float", "batch", 1)], { columns: { age: "age" } })).toMatchObject({
      input_ids: { from: "tokens" },
      age: { from: "feature", index: 0 },
    });
  });

  it("takes sizes that the model leaves open from the job file, and a column for each number", () => {
    const open = [value("x", "float", "n", null)];
    expect(filled(open, { columns: { x: { column: "numbers", shape: [3] } }, reads: false })).toMatchObject({ x: { dims: ["batch", 3] } });
    expect(filled(open, { columns: { x: { column: "numbers", shape: [3, 2] } }, reads: false })).toMatch(
      /^columns\.inputs\.x\.shape: \[3, 2\] does not fit the input/,
    );
    const two = [value("x", "float", "n", 2)];
    expect(signatureOf(two, { columns: { x: ["a", "b"] }, reads: false, pad: 0 })).toMatchObject({ ok: true, features: [{ elements: 2 }] });
    expect(filled(two, { columns: { x: ["a", "b", "c"] }, reads: false })).toMatch(/^columns\.inputs\.x: 3 columns for 2 numbers/);
  });

  it("refuses features whose size is not known, and a column for an input that does not exist", () => {
    const columns = { x: "numbers" };
    const message = /^the input "x" leaves dimensions after the batch open; say them in the job file/;
    expect(filled([value("x", "float", "n", "width")], { columns, reads: false })).toMatch(message);
    expect(filled([value("x", "float", "n", null)], { columns, reads: false })).toMatch(message);
    expect(filled([value("x", "float")], { columns, reads: false })).toMatch(/does not fit the input, whose first dimension is the batch/);
    expect(filled([ids], { columns })).toBe(
      'columns.inputs: the model has no input "x"; the model\'s inputs are "input_ids" int64 [batch, sequence]',
    );
  });

  it("refuses what nothing says how to fill, with every input and the line that would", () => {
    expect(signatureOf([ids, value("pixels", "float", null, 3)], READS)).toEqual({
      ok: false,
      code: "unsupported-signature",
      message:
        'nothing says what fills the input "pixels": name its column in the job file, columns: {inputs: {pixels: COLUMN}}; ' +
        'the model\'s inputs are "input_ids" int64 [batch, sequence], "pixels" float [?, 3]',
    });
    // Ids that are no matrix of integers.
    expect(filled([value("input_ids", "float", "batch", "sequence")])).toContain('what fills the input "input_ids"');
    expect(filled([value("input_ids", "int64", "sequence")])).toContain('what fills the input "input_ids"');
    expect(filled([ids], { reads: false })).toContain('what fills the input "input_ids"');
  });

  it("refuses types that it cannot make, and dimensions that are not declared", () => {
    expect(filled([value("text", "string", "batch")])).toMatch(
      /^the input "text" is of type string, .* int64 or float32 inputs; the model's/,
    );
    expect(filled([ids, value("h0", "float16", 1, "batch", 8)])).toContain('"h0" is of type float16');
    expect(filled([{ name: "input_ids", type: "int64", dimensions: null }])).toBe(
      'the input "input_ids" does not say its dimensions; export the model with them; the model\'s inputs are "input_ids" int64 [?]',
    );
  });

  it("refuses a tokenizer for a model that reads no tokens", () => {
    const columns = { x: "numbers" };
    expect(filled([value("x", "float", "n", 2)], { columns })).toMatch(/^no input takes token ids, though the job has a tokenizer; /);
    expect(filled([value("x", "float", "n", 2)], { columns, reads: false })).toMatchObject({ x: { from: "feature" } });
  });
});
