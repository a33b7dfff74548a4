/**
 * A lease that at most one coordinator of a job holds: a session-level advisory lock in PostgreSQL. It lives as long as the database's
 * session, so whoever cannot ask the database any more must take it for lost. It decides who announces; that two never count is the
 * epoch's doing.
 */
import { setTimeout } from "node:timers/promises";

export interface Lease {
  /** Rejects, with words for people, when the lease is lost. */
  readonly lost: Promise<never>;
  release(): Promise<void>;
}

/** How often the lease is asked for, or confirmed, and how long the database may take to answer. */
const ASK_MS = 1_000;
const ANSWER_MS_MAX = 3_000;

/** The database gives a holder up that it does not hear of: after the first, and so many probes at these seconds. */
const KEEPALIVE = "SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3";

/**
 * Waits until this process holds the job's lease; null where `signal` ended the wait. `fromAnother`: only once somebody else was seen
 * to hold it. Throws where the database cannot be used.
 */
export async function takeLease(
  url: string,
  jobId: string,
  signal: AbortSignal,
  { fromAnother = false, onWaiting }: { fromAnother?: boolean; onWaiting: () => void },
): Promise<Lease | null> {
  // Loaded only where somebody asks for a lease.
  const { default: pg } = await import("pg");
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: ANSWER_MS_MAX,
    query_timeout: ANSWER_MS_MAX,
    keepAlive: true,
  });
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => {});
  const over = new AbortController();
  const lose = (why: string) => {
    if (!over.signal.aborted)
      lost.reject(new Error(`the lease is lost (${why}): this coordinator stops; start it again once the database answers`));
    over.abort();
  };
  client.on("error", ({ message }) => lose(message));
  client.on("end", () => lose("the database ended the session"));
  const release = async () => {
    over.abort();
    await client.end().catch(() => {});
  };
  // The first 64 bits of the job's id, as the database's signed integer.
  const key = BigInt.asIntN(64, BigInt(`0x${jobId.slice(0, 16)}`)).toString();
  try {
    await client.connect();
    await client.query(KEEPALIVE);
    for (let seenHeld = false; ; ) {
      const { rows } = await client.query<{ held: boolean }>("SELECT pg_try_advisory_lock($1::bigint) AS held", [key]);
      const held = rows[0]?.held === true;
      if (held && (seenHeld || !fromAnother)) break;
      if (held) await client.query("SELECT pg_advisory_unlock($1::bigint)", [key]);
      if (!held && !seenHeld) onWaiting();
      seenHeld ||= !held;
      await setTimeout(ASK_MS, undefined, { signal }).catch(() => {});
      if (signal.aborted) {
        await release();
        return null;
      }
    }
  } catch (error) {
    await release();
    throw new Error(`--lease: the database cannot be used (${(error as Error).message}); check the address, user and password`, {
      cause: error,
    });
  }
  void confirm(() => client.query("SELECT 1"), over.signal, lose);
  return { lost: lost.promise, release };
}

async function confirm(ask: () => Promise<unknown>, signal: AbortSignal, lose: (why: string) => void): Promise<void> {
  while (!signal.aborted) {
    await setTimeout(ASK_MS, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    await ask().catch((error: Error) => lose(error.message));
  }
}
