/** The post-processors of a tokenizer.json, for one text: which ids they put before and after it. */
import * as z from "zod";
import { kindsOf } from "./kinds.ts";

export interface Frame {
  before: readonly number[];
  after: readonly number[];
}

const idSchema = z.int().min(0);
const token = z.tuple([z.string(), idSchema]);
const around = z.object({ cls: token, sep: token }).transform(({ cls, sep }): Frame => ({ before: [cls[1]], after: [sep[1]] }));

const template = z
  .object({
    single: z.array(
      z.union([z.object({ SpecialToken: z.object({ id: z.string() }) }), z.object({ Sequence: z.object({ id: z.enum(["A", "B"]) }) })]),
    ),
    special_tokens: z.record(z.string(), z.object({ ids: z.array(idSchema) })),
  })
  .transform(({ single, special_tokens }, context): Frame => {
    const ids = single.map((piece) => {
      if ("Sequence" in piece) return "text";
      return Object.hasOwn(special_tokens, piece.SpecialToken.id) ? special_tokens[piece.SpecialToken.id]?.ids : undefined;
    });
    const at = ids.indexOf("text");
    const faulty = (path: string, message: string) => {
      context.issues.push({ code: "custom", input: single, path: [path], message });
      return z.NEVER;
    };
    if (at < 0 || at !== ids.lastIndexOf("text")) return faulty("single", "must have the text exactly once; correct it");
    if (ids.includes(undefined)) return faulty("special_tokens", "lacks a token that single names; add it");
    const flat = (part: typeof ids) => part.flat() as number[];
    return { before: flat(ids.slice(0, at)), after: flat(ids.slice(at + 1)) };
  });

export const frameSchema: z.ZodType<Frame> = kindsOf("post_processor", {
  BertProcessing: around,
  ByteLevel: z.object({}).transform((): Frame => ({ before: [], after: [] })),
  RobertaProcessing: around,
  Sequence: z
    .object({ processors: z.array(z.lazy(() => frameSchema)) })
    .transform(({ processors }) =>
      processors.reduce<Frame>(
        (inner, outer) => ({ before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] }),
        { before: [], after: [] },
      ),
    ),
  TemplateProcessing: template,
});
