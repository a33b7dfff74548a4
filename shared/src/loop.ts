/**
 * The one imperative loop of a process: take the next event from a bounded inbox, reduce, perform the effects in order.
 * Sockets, timers, disks and the runtime only enqueue events or perform effects.
 */

export interface Loop<Event> {
  /** Enqueues what a peer sent. False, and nothing enqueued, where the inbox is full: the caller drops, counts, or closes its source. */
  enqueue(event: Event): boolean;
  /** Enqueues what the process itself has begun: a timer, a flush, a measurement, a session's end. Few at a time, so never refused, whatever peers send. */
  enqueueOwn(event: Event): void;
  /** Resolves once the loop has stopped: by `stop`, or with the error that a reduction or an effect threw. */
  readonly stopped: Promise<void>;
  stop(): void;
}

/** Starts the loop. `perform` may be asynchronous; the next event waits until all effects of the one before are performed. */
export function startLoop<Event, Effect>(options: {
  reduce: (event: Event) => Effect[];
  perform: (effect: Effect) => void | Promise<void>;
  inboxMax: number;
}): Loop<Event> {
  const inbox: Event[] = [];
  let wake = () => {};
  let running = true;
  const run = async () => {
    while (running) {
      const event = inbox.shift();
      if (event === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      for (const effect of options.reduce(event)) {
        await options.perform(effect);
        if (!running) return;
      }
    }
  };
  const take = (event: Event) => {
    inbox.push(event);
    wake();
  };
  return {
    enqueue(event) {
      if (!running || inbox.length >= options.inboxMax) return false;
      take(event);
      return true;
    },
    enqueueOwn(event) {
      if (running) take(event);
    },
    stopped: run(),
    stop() {
      running = false;
      wake();
    },
  };
}
