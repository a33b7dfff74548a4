/**
 * The main thread's handle on the evaluator: each call is a message and a promise. The network's thread never waits for a
 * forward pass, and theta never crosses the thread but as copies.
 */
import { Worker } from "node:worker_threads";
import type { Manifest } from "../protocol/manifest.ts";
import type { CallName, Calls, FromThread, LoadRequest, ToThread } from "./calls.ts";

export interface Evaluator {
  /** Asks the thread. Rejects with the thread's fault, in its own words, or when the thread is gone. */
  call<N extends CallName>(name: N, request: Calls[N]["request"], signal?: AbortSignal): Promise<Calls[N]["answer"]>;
  /**
   * Ends the thread after the forward pass that it is in; what was asked for is rejected. Await it before the process exits: a thread
   * that is ended inside the runtime takes the process with it.
   */
  close(): Promise<void>;
}

/** Starts the thread. `threads` is how many the runtime uses for one forward pass. */
export function startEvaluator({ threads }: { threads: number }): Evaluator {
  const thread = new Worker(new URL("evaluator.ts", import.meta.url), { workerData: { threads } });
  const waiting = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  let nextId = 0;
  let gone: Error | undefined;
  const failAll = (error: Error) => {
    gone ??= error;
    for (const { reject } of waiting.values()) reject(gone);
    waiting.clear();
  };
  thread.on("message", (reply: FromThread) => {
    const caller = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ("fault" in reply) caller?.reject(new Error(reply.fault));
    else caller?.resolve(reply.answer as never);
  });
  thread.on("error", (error) => failAll(error as Error));
  const exited = new Promise<void>((resolve) => {
    thread.on("exit", (code) => {
      failAll(new Error(`the evaluator's thread ended with code ${code}`));
      resolve();
    });
  });
  return {
    call(name, request, signal) {
      if (gone) return Promise.reject(gone);
      const id = nextId++;
      const abort = () => thread.postMessage({ abort: id } satisfies ToThread);
      const answered = new Promise<never>((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        thread.postMessage({ id, name, request });
        if (signal?.aborted) abort();
        else signal?.addEventListener("abort", abort, { once: true });
      });
      return answered.finally(() => signal?.removeEventListener("abort", abort));
    },
    close() {
      failAll(new Error("the evaluator is closed"));
      thread.postMessage({ close: true } satisfies ToThread);
      return exited;
    },
  };
}

/** What an evaluator loads of a job whose blobs are on disk, frozen weights beside the graph. */
export function loadRequestOf(
  { model, initial, tokenizer, tensors, key, inputs, objective }: Manifest,
  pathOf: (id: string) => string,
): LoadRequest {
  return {
    graphFile: pathOf(model.id),
    initialFile: pathOf(initial.id),
    tokenizerFile: tokenizer && pathOf(tokenizer.id),
    tensors,
    key,
    inputs,
    objective,
  };
}
