/** Whether what is shown is live. Spoken by screen readers when it changes, and only then. */
import { useEffect, useState } from "preact/hooks";
import { duration } from "./format.ts";
import type { PageState } from "./state.ts";

export function LinkState({ link, over }: { link: PageState["link"]; over: boolean }) {
  const word = link.kind === "live" ? "Live" : link.kind === "connecting" ? "Connecting" : over ? "Coordinator stopped" : "Reconnecting";
  return (
    <span class={`link link-${link.kind}`}>
      <span class="dot" aria-hidden="true" />
      <span role="status">{word}</span>
    </span>
  );
}

/** How long ago something was, counting on. */
export function Since({ ms }: { ms: number }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return <>{duration(Math.max(0, (now - ms) / 1_000))}</>;
}
