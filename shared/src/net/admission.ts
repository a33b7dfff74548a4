/** Who may be answered now: streams and token buckets of a request protocol, per peer and in total. */
import { LIMITS } from "../protocol/limits.ts";
import { type Bucket, createBucket } from "./buckets.ts";

export interface Admission {
  /** There were too many streams already: answer "busy" and close. */
  crowded: boolean;
  /** Whether the peer's and everybody's budget is open for one more request. */
  admits(): boolean;
  /** Charges an answer to both budgets. */
  charge(bytes: number): void;
  leave(): void;
}

/** Streams and budgets, per peer and in total. Buckets outlive streams, or a new stream would be a new budget. */
export function createAdmission(
  nowMs = () => performance.now(),
  bytesPerSecondMax: number = LIMITS.requestBytesPerSecondMax,
): (peerId: string) => Admission {
  const total = createBucket({ perSecond: bytesPerSecondMax, burst: bytesPerSecondMax });
  const buckets = new Map<string, { requests: Bucket; bytes: Bucket }>();
  const streams = new Map<string, number>();
  let all = 0;
  return (peerId) => {
    const known = buckets.get(peerId) ?? {
      requests: createBucket({ perSecond: LIMITS.requestsPerSecondPerPeerMax, burst: 2 * LIMITS.requestsPerSecondPerPeerMax }),
      bytes: createBucket({ perSecond: LIMITS.requestBytesPerSecondPerPeerMax, burst: LIMITS.requestBytesPerSecondPerPeerMax }),
    };
    buckets.delete(peerId);
    buckets.set(peerId, known);
    for (const [oldest] of buckets) {
      if (buckets.size <= LIMITS.requestPeersRememberedMax) break;
      buckets.delete(oldest);
    }
    const own = (streams.get(peerId) ?? 0) + 1;
    streams.set(peerId, own);
    all += 1;
    let left = false;
    return {
      crowded: own > LIMITS.requestStreamsPerPeerMax || all > LIMITS.requestStreamsMax,
      admits() {
        const now = nowMs();
        return known.bytes.take(0, now) && total.take(0, now) && known.requests.take(1, now);
      },
      charge(bytes) {
        known.bytes.owe(bytes);
        total.owe(bytes);
      },
      leave() {
        if (left) return;
        left = true;
        all -= 1;
        const rest = (streams.get(peerId) ?? 1) - 1;
        if (rest > 0) streams.set(peerId, rest);
        else streams.delete(peerId);
      },
    };
  };
}
