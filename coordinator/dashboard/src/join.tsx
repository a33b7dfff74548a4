/** How to lend a computer: the one command, a button that copies it, and what volunteers will be able to read. */
import { useRef, useState } from "preact/hooks";
import type { Job } from "../../src/http/schemas.ts";

export function Join({ job, first = false }: { job: Job; first?: boolean }) {
  const command = useRef<HTMLElement>(null);
  const [said, setSaid] = useState("");
  const copy = async () => {
    setSaid((await copied(command.current as HTMLElement)) ? "Copied" : "Selected: press Ctrl+C");
    setTimeout(() => setSaid(""), 3_000);
  };
  return (
    <section class={first ? "card join first" : "card join"} aria-labelledby="join">
      <h2 id="join">{first ? "Nobody has joined yet" : "Lend a computer"}</h2>
      <p>
        {first
          ? "Training starts as soon as the first computer joins. On any computer with Node and a copy of zoswarm, run:"
          : "On any computer with Node and a copy of zoswarm, run:"}
      </p>
      <div class="command">
        <code ref={command}>{job.joinCommand}</code>
        <button type="button" onClick={copy}>
          Copy<span class="hidden"> the command</span>
        </button>
        <span class="said" role="status">
          {said}
        </span>
      </div>
      {job.addresses.length > 0 && job.addresses.every(isLoopback) && (
        <p class="aside">This coordinator listens on its own machine alone: the command works there and nowhere else.</p>
      )}
      {job.addresses.length > 1 && (
        <details>
          <summary>All addresses</summary>
          <ul class="addresses">
            {job.addresses.map((address) => (
              <li key={address}>
                <code>{address}</code>
              </li>
            ))}
          </ul>
        </details>
      )}
      <p class="aside notice-data">
        <svg viewBox="0 0 20 20" aria-hidden="true">
          <path d="M1.5 10S4.5 4.5 10 4.5 18.5 10 18.5 10 15.5 15.5 10 15.5 1.5 10 1.5 10Z" />
          <circle cx="10" cy="10" r="2.4" />
        </svg>
        {job.dataNotice}
      </p>
    </section>
  );
}

function isLoopback(address: string): boolean {
  return /^\/ip4\/127\.|^\/ip6\/::1\//.test(address);
}

/** Pages from another machine have no clipboard API (it wants HTTPS): there the older way, and else the text is left selected. */
async function copied(element: HTMLElement): Promise<boolean> {
  const text = element.textContent ?? "";
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}
