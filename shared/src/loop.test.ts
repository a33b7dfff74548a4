import { describe, expect, it } from "vitest";
import { type Loop, startLoop } from "./loop.ts";

/** A loop whose effects are `<event>.1` and `<event>.2`; what happens is written down in order. `perform` may hold an effect. */
function recorded(perform: (effect: string, loop: Loop<string>) => void | Promise<void> = () => {}, inboxMax = 100) {
  const log: string[] = [];
  const loop: Loop<string> = startLoop<string, string>({
    reduce(event) {
      log.push(event);
      return [`${event}.1`, `${event}.2`];
    },
    perform(effect) {
      log.push(effect);
      return perform(effect, loop);
    },
    inboxMax,
  });
  return { loop, log };
}

/** A loop with "a" and "b" that is inside "a.1", which ends when `gate` opens; the loop ends at "b.2". */
async function heldAtFirst() {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const { loop, log } = recorded((effect, own) => {
    if (effect === "b.2") own.stop();
    if (effect !== "a.1") return;
    begun.resolve();
    return gate.promise.then(() => void log.push("a.1 is done"));
  });
  loop.enqueue("a");
  loop.enqueue("b");
  await begun.promise;
  return { loop, log, gate };
}

/** Ends the loop at this effect, so that `stopped` tells when all before it is done. */
const stopAt = (last: string) => (effect: string, loop: Loop<string>) => {
  if (effect === last) loop.stop();
};

describe("a loop", () => {
  it("takes events in order and performs all effects of one before the next is reduced", async () => {
    const { loop, log } = recorded(stopAt("c.2"));
    for (const event of ["a", "b", "c"]) expect(loop.enqueue(event)).toBe(true);
    await loop.stopped;
    expect(log).toEqual(["a", "a.1", "a.2", "b", "b.1", "b.2", "c", "c.1", "c.2"]);
  });

  it("lets the next effect and the next event wait for an effect that takes time", async () => {
    const { loop, log, gate } = await heldAtFirst();
    expect(log).toEqual(["a", "a.1"]);
    gate.resolve();
    await loop.stopped;
    expect(log).toEqual(["a", "a.1", "a.1 is done", "a.2", "b", "b.1", "b.2"]);
  });

  it("queues an event that an effect enqueues behind those that wait already", async () => {
    const { loop, log } = recorded((effect, own) => {
      if (effect === "a.1") own.enqueue("c");
      if (effect === "c.2") own.stop();
    });
    loop.enqueue("a");
    loop.enqueue("b");
    await loop.stopped;
    expect(log.filter((line) => line.length === 1)).toEqual(["a", "b", "c"]);
    expect(log.indexOf("a.2")).toBeLessThan(log.indexOf("b"));
  });

  it("wakes up for an event that comes after it has run out of events", async () => {
    const idle = Promise.withResolvers<void>();
    const { loop, log } = recorded((effect, own) => {
      if (effect === "a.2") idle.resolve();
      if (effect === "b.2") own.stop();
    });
    loop.enqueue("a");
    await idle.promise;
    // A turn of Node's own loop: by then ours has found its inbox empty.
    await new Promise(setImmediate);
    loop.enqueue("b");
    await loop.stopped;
    expect(log.at(-1)).toBe("b.2");
  });

  it("refuses what does not fit into its inbox, and takes events again once there is room", async () => {
    const accepted: boolean[] = [];
    const { loop, log } = recorded((effect, own) => {
      // The inbox still holds b here: one more fits.
      if (effect === "a.1") accepted.push(own.enqueue("d"), own.enqueue("e"));
      if (effect === "d.2") own.stop();
    }, 2);
    expect(["a", "b", "c"].map((event) => loop.enqueue(event))).toEqual([true, true, false]);
    await loop.stopped;
    expect(accepted).toEqual([true, false]);
    expect(log.filter((line) => line.length === 1)).toEqual(["a", "b", "d"]);
  });
});

describe("what the process itself has begun", () => {
  it("finds room in an inbox that peers have filled, and is taken in its turn", async () => {
    const { loop, log } = recorded(stopAt("c.2"), 2);
    expect([loop.enqueue("a"), loop.enqueue("b"), loop.enqueue("x")]).toEqual([true, true, false]);
    loop.enqueueOwn("c");
    await loop.stopped;
    expect(log.filter((line) => line.length === 1)).toEqual(["a", "b", "c"]);
  });
});

describe("an error", () => {
  it("in a reduction ends the loop: `stopped` rejects with it, and nothing that was queued is reduced", async () => {
    const reduced: string[] = [];
    const loop = startLoop<string, never>({
      reduce(event) {
        reduced.push(event);
        throw new Error(`cannot reduce ${event}`);
      },
      perform() {},
      inboxMax: 10,
    });
    loop.enqueue("a");
    loop.enqueue("b");
    await expect(loop.stopped).rejects.toThrow("cannot reduce a");
    expect(reduced).toEqual(["a"]);
  });

  it.each([
    ["rejected", () => Promise.reject(new Error("disk full"))],
    [
      "thrown",
      () => {
        throw new Error("disk full");
      },
    ],
  ])("%s by an effect ends the loop before the effect that follows", async (_, fail) => {
    const { loop, log } = recorded((effect) => (effect === "a.1" ? fail() : undefined));
    loop.enqueue("a");
    loop.enqueue("b");
    await expect(loop.stopped).rejects.toThrow("disk full");
    expect(log).toEqual(["a", "a.1"]);
  });
});

describe("stop", () => {
  it("ends an idle loop, which takes nothing afterwards", async () => {
    const { loop, log } = recorded();
    loop.stop();
    await expect(loop.stopped).resolves.toBeUndefined();
    expect(loop.enqueue("a")).toBe(false);
    loop.stop();
    expect(log).toEqual([]);
  });

  it("lets the effect under way end, and drops the effects and the events behind it", async () => {
    const { loop, log, gate } = await heldAtFirst();
    loop.stop();
    gate.resolve();
    await loop.stopped;
    expect(log).toEqual(["a", "a.1", "a.1 is done"]);
  });

  it("drops what was queued before the loop had its turn", async () => {
    const { loop, log } = recorded();
    loop.enqueue("a");
    loop.stop();
    await loop.stopped;
    expect(log).toEqual([]);
  });
});
