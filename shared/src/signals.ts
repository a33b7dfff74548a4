/** Being told to stop: once is a wish to end in good order; again, after a moment, is an order to end now. */

/** A terminal and a wrapper may both deliver the same Ctrl-C: what comes within this time is the same one. */
const SAME_MS = 1_000;

/** Calls `stop` at SIGINT or SIGTERM. Returns what takes the handlers away. */
export function onStopSignal(stop: (signal: NodeJS.Signals) => void): () => void {
  let firstMs: number | undefined;
  const handle = (signal: NodeJS.Signals) => {
    if (firstMs === undefined) {
      firstMs = performance.now();
      stop(signal);
    } else if (performance.now() - firstMs > SAME_MS) process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.on("SIGINT", handle);
  process.on("SIGTERM", handle);
  return () => {
    process.off("SIGINT", handle);
    process.off("SIGTERM", handle);
  };
}
