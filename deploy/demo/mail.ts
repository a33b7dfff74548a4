/**
 * The subject and the readable text of a mail as it was sent: MIME parts, transfer encodings and HTML, as far as a corpus of 2002 needs.
 * No other header goes into the result: received-by lines and mail programs would give away what the mail is.
 */

/** A mail or one MIME part of it. */
interface Part {
  header: (name: string) => string;
  body: string;
}

/** Parts inside parts: more than this is not read. */
const DEPTH_MAX = 4;

/** Subject, then the text, each with runs of white space as one space; either may be empty. */
export function readMail(source: string): { subject: string; text: string } {
  const mail = partOf(source);
  return { subject: spaced(decodeWords(mail.header("subject"))), text: spaced(textOf(mail, 0)) };
}

/** Headers up to the first empty line; a continued header line begins with white space. */
function partOf(source: string): Part {
  const end = /\r?\n\r?\n/.exec(source);
  const headers = (end ? source.slice(0, end.index) : source).replace(/\r?\n[ \t]+/g, " ");
  const header = (name: string) => new RegExp(`^${name}:(.*)$`, "im").exec(headers)?.[1]?.trim() ?? "";
  return { header, body: end ? source.slice(end.index + end[0].length) : "" };
}

/** What a reader of plain text would see: of alternatives the first plain one, or else the first HTML one. */
function textOf(part: Part, depth: number): string {
  const type = part.header("content-type") || "text/plain";
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (/^multipart\//i.test(type) && boundary !== undefined) {
    if (depth === DEPTH_MAX) return "";
    const parts = part.body
      .split(`--${boundary}`)
      .slice(1)
      .map((piece) => partOf(piece.replace(/^[^\n]*\n/, "")));
    const readable = parts.filter((inner) => /^(text|multipart|message)\/|^$/i.test(inner.header("content-type")));
    const plain = readable.filter((inner) => !/^text\/html/i.test(inner.header("content-type")));
    return [...plain, ...readable].map((inner) => textOf(inner, depth + 1)).find((text) => text.trim() !== "") ?? "";
  }
  const decoded = decode(part.body, part.header("content-transfer-encoding"), /charset="?([\w-]+)/i.exec(type)?.[1]);
  // Some mails are HTML and do not say so.
  return /^text\/html/i.test(type) || /<(html|body|font|table)\b/i.test(decoded.slice(0, 2000)) ? withoutMarkup(decoded) : decoded;
}

function decode(body: string, encoding: string, charset = "latin1"): string {
  if (/quoted-printable/i.test(encoding)) return decodeQuoted(body.replace(/=\r?\n/g, ""), charset);
  if (/base64/i.test(encoding)) return decoderOf(charset).decode(Buffer.from(body, "base64"));
  return body;
}

/** `=E9` as the byte E9; characters that are not written so stay as they are. */
function decodeQuoted(text: string, charset: string): string {
  return text.replace(/(?:=[0-9A-Fa-f]{2})+/g, (run) => decoderOf(charset).decode(Buffer.from(run.replaceAll("=", ""), "hex")));
}

/** Encoded words of a header, RFC 2047: =?charset?Q or B?text?=. */
function decodeWords(text: string): string {
  const joined = text.replace(/\?=\s+=\?/g, "?==?");
  return joined.replace(/=\?([\w-]+)\?([QB])\?([^?]*)\?=/gi, (_, charset: string, kind: string, word: string) =>
    kind.toUpperCase() === "B" ? decoderOf(charset).decode(Buffer.from(word, "base64")) : decodeQuoted(word.replaceAll("_", " "), charset),
  );
}

/** A charset that does not exist is read as latin1. */
function decoderOf(charset: string): TextDecoder {
  try {
    return new TextDecoder(charset);
  } catch {
    return new TextDecoder("latin1");
  }
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " ", copy: "©", reg: "®" };

function withoutMarkup(html: string): string {
  return html
    .replace(/<!--[\s\S]*?(-->|$)/g, "")
    .replace(/<(script|style|title)\b[\s\S]*?(<\/\1\s*>|$)/gi, " ")
    .replace(/<\/?(b|i|u|em|strong|font|span|a)\b[^>]*>/gi, "")
    .replace(/<[a-z!/?][^>]*(>|$)/gi, " ")
    .replace(/&(#\d{1,6}|#x[0-9a-f]{1,5}|\w+);?/gi, (entity, name: string) => {
      if (!name.startsWith("#")) return ENTITIES[name.toLowerCase()] ?? entity;
      const code = /^#x/i.test(name) ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
      return code <= 0x10ffff ? String.fromCodePoint(code) : " ";
    });
}

function spaced(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
