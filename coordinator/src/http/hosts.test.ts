import { expect, test } from "vitest";
import { browserUrl, isLoopback, namesLoopback } from "./hosts.ts";

test.each(["127.0.0.1", "127.8.9.1", "::1", "localhost"])("%s is reached from this machine only", (host) =>
  expect(isLoopback(host)).toBe(true),
);
test.each(["0.0.0.0", "::", "192.168.1.4", "127.0.0.1.evil.example", "127.evil"])("%s is not", (host) =>
  expect(isLoopback(host)).toBe(false),
);

test.each(["localhost", "localhost:8080", "LOCALHOST:80", "127.0.0.1:4", "[::1]:9", "[::1]"])("Host %s is answered", (header) =>
  expect(namesLoopback(header)).toBe(true),
);
test.each([
  "evil.example",
  "evil.example:80",
  "127.0.0.1.evil.example",
  "localhost.evil.example",
  "localhost:80:80",
  "localhost@evil",
  "",
  undefined,
])("Host %s is not", (header) => expect(namesLoopback(header)).toBe(false));

test("an address for every interface is opened as this machine's", () => {
  expect(browserUrl("0.0.0.0", 80)).toBe("http://127.0.0.1:80");
  expect(browserUrl("::", 80)).toBe("http://[::1]:80");
  expect(browserUrl("192.168.1.4", 81)).toBe("http://192.168.1.4:81");
});
