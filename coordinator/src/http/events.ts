/**
 * Server-sent events: one hub for all watchers. Every event is encoded once; a watcher that does not read is dropped, never waited for.
 * It must never throw into the coordinator's loop, and never hold more than a bounded queue per watcher.
 */
import type { ServerResponse } from "node:http";
import { HTTP_LIMITS } from "./limits.ts";
import { EVENTS, type EventName } from "./schemas.ts";
import type { View } from "./view.ts";

const REFRESHED = ["job", "workers", "health"] as const;
/** An event, not a comment: a browser hides comments from the page, which must notice a link that died without a word. */
const HEARTBEAT = "event: heartbeat\ndata: 0\n\n";

export interface EventHub {
  /** Takes over a response and feeds it until it closes. False, and nothing written, where there are too many watchers. */
  add(response: ServerResponse, headers: Readonly<Record<string, string>>): boolean;
  /** Looks up job, workers and health, and sends those that changed; a heartbeat where there was nothing to say. Called by a timer. */
  refresh(): void;
  watchers(): number;
  close(): void;
}

/** `onFault` hears of data that does not fit its schema and of a view that throws: bugs, which cost one event and no more. */
export function createEventHub(view: View, onFault: (error: Error) => void): EventHub {
  const clients = new Set<ServerResponse>();
  const lastSent = new Map<EventName, string>();
  let saidSomething = false;

  const encode = (type: EventName, data: unknown): string | null => {
    const parsed = EVENTS[type].safeParse(data);
    if (parsed.success) return `event: ${type}\ndata: ${JSON.stringify(parsed.data)}\n\n`;
    onFault(new Error(`the event "${type}" was not sent, its data does not fit the schema: ${parsed.error.message}`));
    return null;
  };
  const lookUp = (type: (typeof REFRESHED)[number]): string | null => {
    try {
      return encode(type, type === "workers" ? { workers: view.workers() } : view[type]());
    } catch (error) {
      onFault(error as Error);
      return null;
    }
  };
  const write = (client: ServerResponse, text: string) => {
    client.write(text);
    if (client.writableLength > HTTP_LIMITS.eventQueueBytesMax) client.destroy();
  };
  const broadcast = (text: string) => {
    saidSomething = true;
    for (const client of clients) write(client, text);
  };
  const tell = (type: EventName, text: string | null) => {
    if (text === null || lastSent.get(type) === text) return;
    lastSent.set(type, text);
    broadcast(text);
  };

  const unsubscribe = view.subscribe(({ type, data }) => {
    if (clients.size > 0) tell(type, encode(type, data));
  });

  return {
    add(response, headers) {
      if (clients.size >= HTTP_LIMITS.eventClientsMax) return false;
      response.writeHead(200, {
        ...headers,
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
      });
      response.on("close", () => clients.delete(response));
      response.on("error", () => clients.delete(response));
      // What changed is told to the others first: then what was last sent is what everybody has, the newcomer too.
      for (const type of REFRESHED) tell(type, lookUp(type));
      clients.add(response);
      write(response, `retry: ${HTTP_LIMITS.reconnectMs}\n\n`);
      for (const type of REFRESHED) write(response, lastSent.get(type) ?? "");
      return true;
    },
    refresh() {
      if (clients.size === 0) return;
      for (const type of REFRESHED) tell(type, lookUp(type));
      if (!saidSomething) broadcast(HEARTBEAT);
      saidSomething = false;
    },
    watchers: () => clients.size,
    close() {
      unsubscribe();
      // The last that a page sees of a job is how it ended.
      for (const type of REFRESHED) if (clients.size > 0) tell(type, lookUp(type));
      for (const client of clients) client.end();
      clients.clear();
    },
  };
}
