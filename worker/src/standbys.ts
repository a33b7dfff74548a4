/** Who takes over if a coordinator is lost: what coordinators said, kept on disk, so that a restarted worker finds the job as well. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAddress } from "@zoswarm/shared/net/redial";
import { LIMITS } from "@zoswarm/shared/protocol/limits";

/** Addresses of standbys by the peer id of the coordinator that named them. */
type Known = Record<string, string[]>;

/** Coordinators that are remembered; the longest known are forgotten first. */
const COORDINATORS_MAX = 64;

export interface Standbys {
  /** Adds to `addresses` those that may have taken over from one of them. */
  extend(addresses: string[]): void;
  /** Remembers what a coordinator says. What is no address is left out. */
  learn(coordinator: string, named: readonly string[]): void;
}

/** Reads what is kept in `dir`; a file that says nothing useful is as good as none. */
export function openStandbys(dir: string): Standbys {
  const file = join(dir, "standbys.json");
  const known = read(file);
  return {
    extend(addresses) {
      // The list grows while it is read: a standby may have named another.
      for (const address of addresses) {
        const parsed = parseAddress(address);
        for (const standby of (parsed.ok && known.get(parsed.peerId)) || []) if (!addresses.includes(standby)) addresses.push(standby);
      }
    },
    learn(coordinator, named) {
      const usable = named.filter((address) => parseAddress(address).ok);
      if (JSON.stringify(known.get(coordinator)) === JSON.stringify(usable)) return;
      known.delete(coordinator);
      known.set(coordinator, usable);
      const kept: Known = Object.fromEntries([...known].slice(-COORDINATORS_MAX));
      writeFileSync(file, JSON.stringify(kept));
    },
  };
}

function read(file: string): Map<string, string[]> {
  try {
    const kept = Object.entries(JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>);
    return new Map(
      kept.map(([peerId, all]) => [
        peerId,
        (Array.isArray(all) ? all : [])
          .filter((one) => typeof one === "string" && parseAddress(one).ok)
          .slice(0, LIMITS.standbyAddressesMax),
      ]),
    );
  } catch {
    return new Map();
  }
}
