/**
 * A process in the simulator: shared/src/loop.ts on a virtual clock. It takes the next event, reduces, performs the effects in
 * order, and may die before or after any of them.
 */
import type { Life, World } from "./world.ts";

export interface Process<Event> {
  life: Life;
  /** False where the inbox is full. */
  enqueue(event: Event): boolean;
  /** Never refused: what the process itself has begun. */
  enqueueOwn(event: Event): void;
  readonly waiting: number;
}

/** Work that an event costs, before its effects. */
const EVENT_MS = 0.02;

export function startProcess<Event, Effect extends { kind: string }>(options: {
  world: World;
  life: Life;
  reduce: (event: Event) => Effect[];
  /** Calls `done` when it is performed. */
  perform: (effect: Effect, done: () => void) => void;
  /** Asked before and after each effect; it may end the life. */
  mayDie: (effect: Effect, when: "before" | "after") => void;
  /** After each event and its effects. */
  settled: () => void;
  inboxMax: number;
}): Process<Event> {
  const { world, life } = options;
  const inbox: Event[] = [];
  let busy = false;

  function wake(): void {
    if (busy || inbox.length === 0) return;
    busy = true;
    world.after(EVENT_MS, take, life);
  }
  function take(): void {
    const effects = options.reduce(inbox.shift() as Event);
    options.settled();
    next(effects, 0);
  }
  function next(effects: readonly Effect[], at: number): void {
    let i = at;
    for (; i < effects.length; i++) {
      const effect = effects[i] as Effect;
      options.mayDie(effect, "before");
      if (!life.alive) return;
      let state: "performing" | "done" | "later" = "performing";
      const following = i + 1;
      options.perform(effect, () => {
        if (state === "performing") state = "done";
        else if (life.alive) {
          options.mayDie(effect, "after");
          if (life.alive) next(effects, following);
        }
      });
      if (!life.alive) return;
      if ((state as string) !== "done") {
        state = "later";
        return;
      }
      options.mayDie(effect, "after");
      if (!life.alive) return;
    }
    options.settled();
    busy = false;
    wake();
  }

  const put = (event: Event) => {
    inbox.push(event);
    wake();
  };

  return {
    life,
    get waiting() {
      return inbox.length;
    },
    enqueue(event) {
      if (!life.alive || inbox.length >= options.inboxMax) return false;
      put(event);
      return true;
    },
    enqueueOwn(event) {
      if (life.alive) put(event);
    },
  };
}
