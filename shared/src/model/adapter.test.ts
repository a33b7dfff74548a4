import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AdapterFile, adapterFileOf, readAdapter, writeAdapter } from "./adapter.ts";
import { FORMS, INPUTS, noise, OUTPUTS } from "./lora.testing.ts";
import { addLora } from "./lora.ts";

const FILE: AdapterFile = {
  rank: 2,
  alpha: 3.5,
  adapters: [
    { target: "layer.0.weight", inputs: 3, outputs: 4, a: Float32Array.of(1, 2, 3, 4, 5, 6), b: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
    { target: 'onnx::MatMul_"7"', inputs: 2, outputs: 2, a: noise(4, 1), b: noise(4, 2) },
  ],
};

interface Header {
  [key: string]: Record<string, unknown>;
}

function parts(bytes: Uint8Array): { header: Header; data: Uint8Array } {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  return { header: JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))), data: bytes.subarray(8 + length) };
}

function joined(header: unknown, data: Uint8Array = new Uint8Array(), length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

/** A file with its header changed. */
function changedFile(change: (header: Header) => void): Uint8Array {
  const { header, data } = parts(writeAdapter(FILE));
  change(header);
  return joined(header, data);
}

const A = "base_model.model.layer.0.lora_A.weight";
const B = "base_model.model.layer.0.lora_B.weight";

describe("writeAdapter", () => {
  it("writes safetensors with PEFT's names and shapes, and what is needed to use them", () => {
    const { header, data } = parts(writeAdapter(FILE));
    expect(header).toEqual({
      __metadata__: { format: "zoswarm-lora/1", rank: "2", alpha: "3.5", targets: '["layer.0.weight","onnx::MatMul_\\"7\\""]' },
      [A]: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
      [B]: { dtype: "F32", shape: [4, 2], data_offsets: [24, 56] },
      'base_model.model.onnx::MatMul_"7".lora_A.weight': { dtype: "F32", shape: [2, 2], data_offsets: [56, 72] },
      'base_model.model.onnx::MatMul_"7".lora_B.weight': { dtype: "F32", shape: [2, 2], data_offsets: [72, 88] },
    });
    expect(data.byteOffset % 8).toBe(0);
    expect([...new Float32Array(data.slice(0, 56).buffer)]).toEqual([1, 3, 5, 2, 4, 6, 1, 5, 2, 6, 3, 7, 4, 8]);
  });

  it("throws where sizes do not fit each other", () => {
    const [first] = FILE.adapters;
    expect(() => writeAdapter({ ...FILE, rank: 3, adapters: [first!] })).toThrow('"layer.0.weight" is 3 x 4 at rank 3');
  });

  it("takes what was trained from the graph's adapters", () => {
    const lora = addLora(FORMS.MatMul!().model, { rank: 4, alpha: 8, targets: ["*"], seed: [1, 2, 3, 4] });
    if (!lora.ok) throw new Error(lora.message);
    const [a, b] = [noise(INPUTS * 4, 1), noise(4 * OUTPUTS, 2)];
    const file = adapterFileOf(lora.adapters, (name) => (name.endsWith("_A") ? a : b));
    const adapters = [{ target: "layer.weight", inputs: INPUTS, outputs: OUTPUTS, a, b }];
    expect(readAdapter(writeAdapter(file))).toEqual({ ok: true, rank: 4, alpha: 8, adapters });
  });
});

describe("readAdapter", () => {
  it("reads what was written, at any offset in memory, and where names differ by .weight alone", () => {
    const adapters = ["x", "x.weight"].map((target, i) => ({ ...FILE.adapters[1]!, target, a: noise(4, i) }));
    for (const file of [FILE, { ...FILE, adapters }]) {
      const bytes = writeAdapter(file);
      const moved = new Uint8Array(bytes.length + 1).subarray(1);
      moved.set(bytes);
      expect(readAdapter(moved)).toEqual({ ok: true, ...file });
    }
  });

  it("reads tensors in whatever order other programs write them", () => {
    const { header, data } = parts(writeAdapter(FILE));
    const moved = new Uint8Array(data.length);
    moved.set(data.subarray(24, 56), 0);
    moved.set(data.subarray(0, 24), 32);
    moved.set(data.subarray(56), 56);
    Object.assign(header[B]!, { data_offsets: [0, 32] });
    Object.assign(header[A]!, { data_offsets: [32, 56] });
    expect(readAdapter(joined(Object.fromEntries(Object.entries(header).reverse()), moved))).toEqual({ ok: true, ...FILE });
  });

  it("refuses what is not such a file, and says why", () => {
    const refusals: [Uint8Array, string][] = [
      [new Uint8Array(9), "has 9 bytes, too few"],
      [joined({}, new Uint8Array(), 2n ** 63n), "says that its header has 9223372036854775808 bytes; in this file it can have 2"],
      [joined("[1,2]"), "a header that is not a JSON object"],
      [joined("{nonsense}"), "a header that is not a JSON object"],
      [joined({ __metadata__: { format: "pt" } }), 'not of the format "zoswarm-lora/1"'],
      [changedFile(({ __metadata__ }) => Object.assign(__metadata__!, { rank: "-1" })), 'the rank "-1"'],
      [changedFile(({ __metadata__ }) => Object.assign(__metadata__!, { alpha: "NaN" })), 'the alpha "NaN"'],
      [changedFile(({ __metadata__ }) => Object.assign(__metadata__!, { targets: '["w","w"]' })), "no list of different targets"],
      [
        changedFile(({ __metadata__ }) => Object.assign(__metadata__!, { targets: '["w"]' })),
        'no tensor "base_model.model.w.lora_A.weight"',
      ],
      [changedFile(({ __metadata__ }) => Object.assign(__metadata__!, { targets: '["layer.0.weight"]' })), "4 tensors for 1 targets"],
      [changedFile(({ __metadata__ }) => Object.assign(__metadata__!, { rank: "1" })), "has A [2,3] and B [4,2]"],
      [changedFile((header) => delete header[A]), "gap at byte 0"],
      [changedFile((header) => Object.assign(header[A]!, { dtype: "F16" })), `the tensor "${A}" of type "F16"`],
      [changedFile((header) => Object.assign(header[A]!, { shape: [6] })), `the tensor "${A}" of shape [6]`],
      [changedFile((header) => Object.assign(header[A]!, { shape: [2, 2 ** 40] })), "at the bytes [0,24] of 88"],
      [changedFile((header) => Object.assign(header[A]!, { data_offsets: [32, 56] })), "overlap or leave a gap at byte 0"],
      [changedFile((header) => Object.assign(header[A]!, { data_offsets: [0, 24.5] })), "at the bytes [0,24.5] of 88"],
      [writeAdapter(FILE).subarray(0, -4), "at the bytes [72,88] of 84"],
      [writeAdapter({ ...FILE, adapters: [{ ...FILE.adapters[1]!, a: Float32Array.of(0, 0, 0, Number.NaN) }] }), "that are not finite"],
    ];
    for (const [bytes, why] of refusals)
      expect(readAdapter(bytes)).toMatchObject({ ok: false, code: "adapter-unreadable", message: expect.stringContaining(why) });
  });

  it("never throws, whatever byte is changed", () => {
    const bytes = writeAdapter(FILE);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
        const other = bytes.slice();
        other[at] = value;
        readAdapter(other);
      }),
    );
  });
});
