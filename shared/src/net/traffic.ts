/**
 * Bytes in and out: payload by kind (counted where a room hands bytes over) and wire totals (counted by libp2p at the socket,
 * with Noise, Yamux, identify and pings in them). Blobs and ledger ranges are kept apart from what a step costs.
 */
import type { Registry } from "prom-client";
import { BLOB_PROTOCOL, RANGE_PROTOCOL, SNAPSHOTS_PROTOCOL } from "../protocol/topics.ts";

export interface Flow {
  in: number;
  out: number;
}

export const PAYLOAD_KINDS = ["announcement", "session", "range", "blob", "snapshots"] as const;
export type PayloadKind = (typeof PAYLOAD_KINDS)[number];

export interface Traffic {
  /** Announcements and session frames: what a step costs. */
  payload: Flow;
  /** Everything on the sockets without the bytes of blob, range and snapshots streams (their Noise and Yamux framing, about 0.1 %, stays in). */
  wire: Flow;
  byKind: Record<PayloadKind, Flow>;
  /** Everything on the sockets. */
  wireTotal: Flow;
}

export interface TrafficCounter {
  count(kind: PayloadKind, direction: keyof Flow, bytes: number): void;
  /** Announcements and session frames so far. */
  payload(): Flow;
  readTraffic(): Promise<Traffic>;
}

/** The counter group of @libp2p/prometheus-metrics; its label `protocol` reads "global sent", "/zoswarm/blob/1 received" and so on. */
const TRANSFER_METRIC = "libp2p_data_transfer_bytes_total";

export function createTraffic(registry: Registry): TrafficCounter {
  const byKind = Object.fromEntries(PAYLOAD_KINDS.map((kind) => [kind, { in: 0, out: 0 }])) as Record<PayloadKind, Flow>;
  const payload = (): Flow => ({ in: byKind.announcement.in + byKind.session.in, out: byKind.announcement.out + byKind.session.out });
  return {
    count(kind, direction, bytes) {
      byKind[kind][direction] += bytes;
    },
    payload,
    async readTraffic() {
      const metric = await registry.getSingleMetric(TRANSFER_METRIC)?.get();
      const transferred = new Map(metric?.values.map(({ labels, value }) => [String(labels.protocol), value]));
      const flow = (name: string): Flow => ({ in: transferred.get(`${name} received`) ?? 0, out: transferred.get(`${name} sent`) ?? 0 });
      const wireTotal = flow("global");
      const apart = [flow(BLOB_PROTOCOL), flow(RANGE_PROTOCOL), flow(SNAPSHOTS_PROTOCOL)];
      return {
        payload: payload(),
        wire: {
          in: apart.reduce((rest, { in: bytes }) => rest - bytes, wireTotal.in),
          out: apart.reduce((rest, { out: bytes }) => rest - bytes, wireTotal.out),
        },
        byKind: structuredClone(byKind),
        wireTotal,
      };
    },
  };
}

/** Bytes per step, each way: what is in messages, and all that was on the sockets; blobs and ranges left out. */
export interface FlowPerStep {
  in: { payload: number; wire: number };
  out: { payload: number; wire: number };
}

/** The difference of two readings, over `steps` steps. */
export function perStep(from: Traffic, to: Traffic, steps: number): FlowPerStep {
  const each = (direction: keyof Flow) => ({
    payload: (to.payload[direction] - from.payload[direction]) / Math.max(1, steps),
    wire: (to.wire[direction] - from.wire[direction]) / Math.max(1, steps),
  });
  return { in: each("in"), out: each("out") };
}
