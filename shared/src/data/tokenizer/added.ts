/**
 * The added tokens of a tokenizer.json: texts that are tokens wherever they stand, whatever the model would make of them. Those that are
 * `normalized` are looked for in the normalized text, by their own normalized form; the others before that.
 */
import * as z from "zod";
import { TOKEN_CHARACTERS_MAX } from "./model.ts";
import { SPACE, WORD } from "./pattern.ts";

export const ADDED_TOKENS_MAX = 100_000;

export const addedTokensSchema = z
  .array(
    z.object({
      id: z.int().min(0),
      content: z.string().min(1).max(TOKEN_CHARACTERS_MAX),
      single_word: z.boolean().default(false),
      lstrip: z.boolean().default(false),
      rstrip: z.boolean().default(false),
      normalized: z.boolean().optional(),
      special: z.boolean().default(false),
    }),
  )
  .max(ADDED_TOKENS_MAX, `at most ${ADDED_TOKENS_MAX} added tokens`)
  .transform((tokens) => tokens.map((token) => ({ ...token, normalized: token.normalized ?? !token.special })));

export type AddedToken = z.infer<typeof addedTokensSchema>[number];

/** A part of a text that begins at `start`: an added token's id, or text between them. */
export type Section = { start: number; text: string; id?: undefined } | { start: number; id: number };

interface Node {
  next: Map<string, Node>;
  token?: AddedToken;
}

const ENDS_WITH_WORD = new RegExp(`[${WORD}]$`, "u");
const STARTS_WITH_WORD = new RegExp(`^[${WORD}]`, "u");
const SPACE_AT_START = new RegExp(`^${SPACE}*`, "u");
const SPACE_BEFORE = new RegExp(`(?<!${SPACE})${SPACE}+$`, "u");

/**
 * Cuts texts at added tokens, the leftmost first and of those the longest; the reference's `find_matches`. `formOf` gives the text by which
 * a token is looked for. Throws a RangeError that names two tokens with one form, or a token whose form is empty.
 */
export function cutterOf(tokens: readonly AddedToken[], formOf: (token: AddedToken) => string): (text: string) => Section[] {
  const root: Node = { next: new Map() };
  for (const token of tokens) {
    let node = root;
    for (const unit of formOf(token).split("")) {
      const next = node.next.get(unit) ?? { next: new Map() };
      node.next.set(unit, next);
      node = next;
    }
    const named = JSON.stringify(token.content.slice(0, 40));
    if (node === root) throw new RangeError(`the added token ${named} is nothing once it is normalized; make it "normalized": false`);
    if (node.token !== undefined) throw new RangeError(`the added token ${named} is there twice once it is normalized; remove one`);
    node.token = token;
  }
  return (text) => {
    const sections: Section[] = [];
    let covered = 0;
    for (let at = 0; at < text.length; ) {
      const found = longest(root, text, at);
      const begin = at;
      at = found === undefined ? at + 1 : found.end;
      if (found === undefined) continue;
      const { token, end } = found;
      if (token.single_word && (ENDS_WITH_WORD.test(lastOf(text, begin)) || STARTS_WITH_WORD.test(text.slice(end, end + 2)))) continue;
      const spaces = token.lstrip ? (SPACE_BEFORE.exec(text.slice(covered, begin))?.[0].length ?? 0) : 0;
      const start = Math.max(begin - spaces, covered);
      if (covered < start) sections.push({ start: covered, text: text.slice(covered, start) });
      sections.push({ start, id: token.id });
      covered = end + (token.rstrip ? (SPACE_AT_START.exec(text.slice(end))?.[0].length ?? 0) : 0);
    }
    if (covered < text.length) sections.push({ start: covered, text: text.slice(covered) });
    return sections;
  };
}

function longest(root: Node, text: string, from: number): { token: AddedToken; end: number } | undefined {
  let found: { token: AddedToken; end: number } | undefined;
  let node: Node | undefined = root;
  for (let at = from; at < text.length; at++) {
    node = node.next.get(text[at] as string);
    if (node === undefined) break;
    if (node.token !== undefined) found = { token: node.token, end: at + 1 };
  }
  return found;
}

/** The last character before `end`, whole even where it is a surrogate pair. */
function lastOf(text: string, end: number): string {
  return text.slice(Math.max(0, end - 2), end);
}
