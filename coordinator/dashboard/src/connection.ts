/**
 * The page's one link to its coordinator: live events, history fetched whenever the link is new, and patience when it breaks.
 * It never gives up, and never asks more often than the waits below.
 */
import type { EventName, StepsPage } from "../../src/http/schemas.ts";
import { type Message, type PageState, resumeFrom } from "./state.ts";

/** The coordinator says something every 2 s; a silence of this length is a dead link (a laptop that slept, a changed network). */
const SILENCE_MS_MAX = 10_000;
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 8_000;
const NAMES: readonly EventName[] = ["job", "workers", "health", "step", "evaluation"];

/** Connects, for as long as the page is open. `state` is asked for what is known already. */
export function connect(dispatch: (message: Message) => void, state: () => PageState): void {
  let source: EventSource | null = null;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let retryMs = RETRY_MS_MIN;

  const lose = () => {
    source?.close();
    source = null;
    clearTimeout(silence);
    clearTimeout(retry);
    dispatch({ type: "lost", nowMs: Date.now() });
    retry = setTimeout(open, retryMs);
    retryMs = Math.min(2 * retryMs, RETRY_MS_MAX);
  };
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(lose, SILENCE_MS_MAX);
  };

  function open() {
    clearTimeout(retry);
    const opened = new EventSource("api/events");
    source = opened;
    let fetched = false;
    heard();
    for (const name of [...NAMES, "heartbeat"] as const)
      opened.addEventListener(name, (event) => {
        if (source !== opened) return;
        heard();
        if (name === "heartbeat") return;
        dispatch({ type: name, data: JSON.parse(event.data) } as Message);
        if (name !== "job" || fetched) return;
        // The job comes first: only then is it known whether what is held belongs to it.
        fetched = true;
        retryMs = RETRY_MS_MIN;
        fetchHistory(dispatch, resumeFrom(state()), () => source === opened).catch(() => source === opened && lose());
      });
    opened.addEventListener("error", () => source === opened && lose());
  }

  const retryNow = () => {
    if (source === null && document.visibilityState === "visible") open();
  };
  document.addEventListener("visibilitychange", retryNow);
  window.addEventListener("online", retryNow);
  open();
}

async function fetchHistory(dispatch: (message: Message) => void, start: number, wanted: () => boolean): Promise<void> {
  for (let from: number | null = start; from !== null && wanted(); ) {
    const answer = await fetch(`api/steps?from=${from}`);
    if (!answer.ok) throw new Error(`history: ${answer.status}`);
    const data = (await answer.json()) as StepsPage;
    if (wanted()) dispatch({ type: "page", data });
    from = data.next;
  }
}
