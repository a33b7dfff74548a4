/** Every limit of the HTTP side, in one table, with its unit in its name. A page that is watched by many must never slow a step. */
export const HTTP_LIMITS = {
  /** Steps in one answer of /api/steps. */
  stepsPerPageMax: 1_000,
  /** Pages that watch /api/events at once; one more is told to come back later. */
  eventClientsMax: 64,
  /** What may wait to be written to one watcher; beyond it the watcher is dropped, and fetches what it missed. */
  eventQueueBytesMax: 1024 * 1024,
  /** How often job, workers and health are looked up for the watchers. An unchanged one is not sent again. */
  refreshMs: 1_000,
  /** What a browser waits before it opens /api/events again. */
  reconnectMs: 1_500,
  /** Connections of all kinds; requests carry no body to speak of. */
  connectionsMax: 512,
  requestTimeoutMs: 10_000,
  requestBytesMax: 1_024,
} as const;
