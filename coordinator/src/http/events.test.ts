import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { createEventHub } from "./events.ts";
import { HTTP_LIMITS } from "./limits.ts";
import { createSampleView, sampleEvaluation, sampleStep } from "./sample.ts";
import { EVENTS, type EventName } from "./schemas.ts";
import { startHttp } from "./server.ts";

/** A response that nobody reads while `reading` is false. */
function watcher({ reading = true } = {}) {
  const written: string[] = [];
  const response = Object.assign(new EventEmitter(), {
    destroyed: false,
    writableLength: 0,
    writeHead() {},
    write(text: string) {
      written.push(text);
      if (!reading) response.writableLength += text.length;
    },
    end() {
      response.emit("close");
    },
    destroy() {
      response.destroyed = true;
      response.emit("close");
    },
  });
  const names = () => written.flatMap((text) => /^event: (\w+)/.exec(text)?.[1] ?? []);
  return { response: response as unknown as ServerResponse, written, names };
}

const faultless = (error: Error) => {
  throw error;
};

test("a newcomer gets the present at once, then what happens; the unchanged is not said again", () => {
  const view = createSampleView();
  const hub = createEventHub(view, faultless);
  const { response, written, names } = watcher();
  hub.add(response, {});
  expect(names()).toEqual(["job", "workers", "health"]);
  view.tell({ type: "step", data: sampleStep(3) });
  view.tell({ type: "evaluation", data: sampleEvaluation(3) });
  hub.refresh();
  const before = written.length;
  hub.refresh();
  expect(written.slice(before)).toEqual(["event: heartbeat\ndata: 0\n\n"]);
  view.data.workers = [];
  hub.refresh();
  expect(names().slice(-2)).not.toContain("job");
  expect(written.at(-1)).toBe('event: workers\ndata: {"workers":[]}\n\n');
});

test("a watcher that does not read is dropped at the limit; the others do not notice", () => {
  const view = createSampleView();
  const hub = createEventHub(view, faultless);
  const [slow, quick] = [watcher({ reading: false }), watcher()];
  hub.add(slow.response, {});
  hub.add(quick.response, {});
  let step = 3;
  while (!slow.response.destroyed) view.tell({ type: "step", data: sampleStep(step++) });
  expect(slow.response.writableLength).toBeLessThan(HTTP_LIMITS.eventQueueBytesMax + 1_000);
  expect(hub.watchers()).toBe(1);
  expect(quick.names().filter((name) => name === "step")).toHaveLength(step - 3);
});

test("there is a last watcher", () => {
  const hub = createEventHub(createSampleView(), faultless);
  for (let n = 0; n < HTTP_LIMITS.eventClientsMax; n++) expect(hub.add(watcher().response, {})).toBe(true);
  const late = watcher();
  expect(hub.add(late.response, {})).toBe(false);
  expect(late.written).toEqual([]);
});

test("data that does not fit and a view that throws cost one event, and are told", () => {
  const view = createSampleView();
  const faults: string[] = [];
  const hub = createEventHub(view, (error) => faults.push(error.message));
  const { response, names } = watcher();
  hub.add(response, {});
  view.tell({ type: "step", data: { ...sampleStep(3), directions: -1 } });
  view.job = () => {
    throw new Error("no job");
  };
  view.data.workers = [];
  hub.refresh();
  expect(faults).toEqual([expect.stringContaining("directions"), "no job"]);
  expect(names().slice(3)).toEqual(["workers"]);
});

test("over a real socket: events arrive as they happen, and closing ends the stream and frees the port", async () => {
  const view = createSampleView();
  const server = await startHttp({ view, registry: new Registry(), host: "127.0.0.1", port: 0, dashboardDir: "/nowhere" });
  if (!server.ok) throw new Error(server.message);
  const answer = await fetch(`${server.url}/api/events`);
  expect(answer.headers.get("content-type")).toContain("text/event-stream");
  expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = "";
  const until = async (name: EventName) => {
    for (;;) {
      const data = new RegExp(`^event: ${name}\ndata: (.*)\n\n`, "m").exec(text)?.[1];
      if (data !== undefined) return EVENTS[name].parse(JSON.parse(data));
      const { done, value } = await reader.read();
      if (done) throw new Error(`the stream ended before "${name}"`);
      text += decoder.decode(value, { stream: true });
    }
  };
  expect(await until("job")).toEqual(view.data.job);
  await until("health");
  view.tell({ type: "step", data: sampleStep(3) });
  expect(await until("step")).toEqual(sampleStep(3));
  const closed = server.close();
  while (!(await reader.read()).done);
  await closed;
  expect(view.listeners()).toBe(0);
  await expect(fetch(`${server.url}/api/job`)).rejects.toThrow();
});
