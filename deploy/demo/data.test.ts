import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readRecords } from "@zoswarm/shared/data/records";
import { lettersOf } from "@zoswarm/shared/data/split";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LABELS, type Mails, splitMails, writeMails } from "./data.ts";
import { readMail } from "./mail.ts";

describe("readMail", () => {
  it("keeps the subject and the body and nothing else of the head", () => {
    const mail = "Received: from a\n\tby b\nSubject: Two\n lines\nX-Mailer: Bulk 3\n\nHello,\n\n  you.\n";
    expect(readMail(mail)).toEqual({ subject: "Two lines", text: "Hello, you." });
  });

  it("decodes encoded words, quoted-printable and base64", () => {
    const quoted =
      "Subject: =?ISO-8859-1?Q?Caf=E9_?= =?utf-8?B?w7xiZXI=?=\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9 =\nau lait =3D 2";
    expect(readMail(quoted)).toEqual({ subject: "Caf\u00e9 \u00fcber", text: "caf\u00e9 au lait = 2" });
    const base64 = "Subject: b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw7xi\nZXI=\n";
    expect(readMail(base64).text).toBe("\u00fcber");
    expect(readMail("Subject: =?x-unknown?Q?=41?=\n\n").subject).toBe("A");
  });

  it("reads the plain part of alternatives, or else the HTML one", () => {
    const part = (type: string, body: string) => `--sep\nContent-Type: ${type}\n\n${body}\n`;
    const mail = (...parts: string[]) =>
      `Subject: s\nContent-Type: multipart/alternative; boundary="sep"\n\nprologue\n${parts.join("")}--sep--\n`;
    expect(readMail(mail(part("text/html", "<p>rich</p>"), part("text/plain", "plain"))).text).toBe("plain");
    expect(readMail(mail(part("text/html", "<p>rich</p>"), part("image/png", "AAAA"))).text).toBe("rich");
    expect(readMail(mail(part("image/png", "AAAA"))).text).toBe("");
  });

  it("takes markup away, also where a mail does not say that it is HTML", () => {
    const html = "<html><style>p {}</style><!-- x --><p>Big&nbsp;<b>sa</b>le &amp; <a href='x'>more&#33;</a><br>now</html>";
    expect(readMail(`Subject: s\nContent-Type: text/html\n\n${html}`).text).toBe("Big sale & more! now");
    expect(readMail(`Subject: s\n\n${html}`).text).toBe("Big sale & more! now");
    expect(readMail("Subject: s\n\nif a < b and b > c").text).toBe("if a < b and b > c");
  });

  it("makes something of a mail without a body, and of parts without an end", () => {
    expect(readMail("Subject: only this")).toEqual({ subject: "only this", text: "" });
    expect(readMail("")).toEqual({ subject: "", text: "" });
    const endless = "Content-Type: multipart/mixed; boundary=a\n\n--a\n".repeat(50);
    expect(readMail(endless).text).toBe("");
  });
});

describe("writeMails", { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "zoswarm-mails-"));
  let mails: Mails;
  beforeAll(async () => {
    mails = await writeMails(folder);
  }, 60_000);
  afterAll(() => rmSync(folder, { recursive: true }));

  it("writes class-balanced rows that the project reads back", async () => {
    for (const [file, rows] of [
      [mails.train, mails.trainRows],
      [mails.heldout, mails.heldoutRows],
    ] as const) {
      const read = await readRecords(file, { columns: ["text", "label"] });
      if (!read.ok) throw new Error(read.message);
      expect(read.records).toHaveLength(rows);
      LABELS.forEach((_, label) => {
        expect(read.records.filter(({ values }) => values.label === label)).toHaveLength(rows / 2);
      });
    }
    expect(mails.trainRows).toBeGreaterThan(2000);
    expect(mails.heldoutRows).toBe(400);
  });

  it("never has a text on both sides, and gives no header away", () => {
    const { train, heldout } = splitMails();
    const trained = new Set(train.map(({ text }) => lettersOf(text.slice(text.indexOf("\n"))).slice(0, 100)));
    const shared = heldout.filter(({ text }) => trained.has(lettersOf(text.slice(text.indexOf("\n"))).slice(0, 100)) && text.length > 200);
    expect(shared).toEqual([]);
    const heads = [...train, ...heldout].filter(({ text }) => /^(Return-Path|Received|Delivered-To|X-Mailer):/i.test(text));
    expect(heads).toEqual([]);
  });

  it("writes the same bytes again", async () => {
    const before = await readFile(mails.heldout);
    await writeMails(folder);
    expect(await readFile(mails.heldout)).toEqual(before);
  });
});
