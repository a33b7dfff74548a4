/** GPT-2's alphabet: every byte as a character that can be seen. Printable Latin-1 stands for itself, the others for U+0100 and on. */
export const BYTE_CHARACTERS: readonly string[] = alphabet();
export const CHARACTER_BYTES: ReadonlyMap<string, number> = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

/** A text's UTF-8 in that alphabet. */
export function byteCharactersOf(text: string): string {
  let characters = "";
  for (const byte of Buffer.from(text, "utf8")) characters += BYTE_CHARACTERS[byte];
  return characters;
}

function alphabet(): string[] {
  let next = 0x100;
  const isSeen = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isSeen(byte) ? byte : next++));
}

/** The token that stands for a byte in a vocabulary with byte fallback, such as `<0x0A>`. */
export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}
