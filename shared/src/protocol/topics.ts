/** Names on the wire: protocol ids of streams and the gossip topic of a job (shared/spec/protocol.md). */

/** Version of everything below; a peer of another version is told so and refused. */
export const PROTOCOL_VERSION = 1;

export const SESSION_PROTOCOL = "/zoswarm/session/1";
export const RANGE_PROTOCOL = "/zoswarm/range/1";
export const BLOB_PROTOCOL = "/zoswarm/blob/1";
export const STANDBY_PROTOCOL = "/zoswarm/standby/1";
export const SNAPSHOTS_PROTOCOL = "/zoswarm/snapshots/1";

/** The gossip topic on which a job's coordinator announces commits and tasks. `jobId` is 64 hex digits. */
export function announceTopic(jobId: string): string {
  return `zoswarm/announce/1/${jobId}`;
}
