/**
 * SentencePiece's rewrite rules (`Precompiled`), as the reference's crate spm_precompiled reads them: a u32 with the trie's bytes, the trie
 * (u32s, a double array over UTF-8), then what is put in place, each ended by a zero byte. All little-endian. The library approximates
 * them by NFKC.
 */
import { isUtf8 } from "node:buffer";
import * as z from "zod";

export const CHARSMAP_BYTES_MAX = 4 * 1024 * 1024;

export const charsmapSchema = z
  .object({ precompiled_charsmap: z.base64({ error: "must be base64" }).max(Math.ceil((4 * CHARSMAP_BYTES_MAX) / 3)) })
  .transform(({ precompiled_charsmap }, context) => {
    const bytes = new Uint8Array(Buffer.from(precompiled_charsmap, "base64"));
    const view = new DataView(bytes.buffer);
    const trieBytes = bytes.length < 4 ? -1 : view.getUint32(0, true);
    if (trieBytes < 4 || trieBytes % 4 !== 0 || trieBytes > bytes.length - 4 || !isUtf8(bytes.subarray(4 + trieBytes))) {
      const message = `its ${bytes.length} bytes are not a trie and UTF-8; take the file from its source again`;
      context.issues.push({ code: "custom", input: undefined, path: ["precompiled_charsmap"], message });
      return z.NEVER;
    }
    const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, unit) => view.getUint32(4 + 4 * unit, true));
    return rewrite(trie, bytes.subarray(4 + trieBytes));
  });

/** Longer clusters are rewritten character by character. */
const CLUSTER_BYTES_MAX = 5;
/** Texts have the same few clusters over and over; all else would be encoded and looked up again for each. */
const CLUSTERS_KNOWN_MAX = 4_096;

function rewrite(trie: Uint32Array, contents: Uint8Array): (text: string) => string {
  const clusters = new Intl.Segmenter("en", { granularity: "grapheme" });
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  const contentOf = (part: string): string | undefined => {
    const at = shortest(trie, encoder.encode(part));
    if (at === undefined) return undefined;
    const end = contents.indexOf(0, at);
    return decoder.decode(contents.subarray(at, end < 0 ? contents.length : end));
  };
  const rewritten = (cluster: string): string => {
    const content = encoder.encode(cluster).length <= CLUSTER_BYTES_MAX ? contentOf(cluster) : undefined;
    return content ?? Array.from(cluster, (character) => contentOf(character) ?? character).join("");
  };
  const known = new Map<string, string>();
  return (text) => {
    let result = "";
    for (const { segment } of clusters.segment(text)) {
      let content = known.get(segment);
      if (content === undefined) {
        if (known.size >= CLUSTERS_KNOWN_MAX) known.clear();
        content = rewritten(segment);
        if (segment.length <= CLUSTER_BYTES_MAX) known.set(segment, content);
      }
      result += content;
    }
    return result;
  };
}

/** Where the content of the shortest rule that begins `key` lies. The reference takes that one too, and not the longest. */
function shortest(trie: Uint32Array, key: Uint8Array): number | undefined {
  const unitAt = (at: number) => trie[at] ?? 0;
  let at = offsetOf(unitAt(0));
  for (const byte of key) {
    if (byte === 0) return undefined;
    at ^= byte;
    const unit = unitAt(at);
    if ((unit & 0x800000ff) >>> 0 !== byte) return undefined;
    at ^= offsetOf(unit);
    if ((unit & 0x100) !== 0) return unitAt(at) & 0x7fffffff;
  }
  return undefined;
}

function offsetOf(unit: number): number {
  return ((unit >>> 10) << ((unit & 0x200) >>> 6)) >>> 0;
}
