/** A standby's disk: it follows the coordinator's, some time behind, and is what takes over. */
import type { Disk } from "./disk.ts";
import type { Faults } from "./faults.ts";
import type { Random } from "./random.ts";
import type { Life, World } from "./world.ts";

export interface Standby {
  readonly entries: readonly Uint8Array[];
  /** Follows `disk` up to `count` entries. `then` is called when the coordinator may announce them: in mode sync, when they are here. */
  follow(disk: Disk, count: number, life: Life, then: () => void): void;
  /** Entries that others may be told of. */
  visible(disk: Disk): number;
  /** From now on this is the disk that is followed. */
  adopt(disk: Disk): void;
}

/** `isHasty`: the coordinator announces without waiting, whatever the mode. */
export function createStandby(world: World, random: Random, { standby: mode, standbyDelayMs }: Faults, isHasty: boolean): Standby {
  let entries: Uint8Array[] = [];
  let followed: Disk | null = null;
  const waits = mode === "sync" && !isHasty;
  return {
    get entries() {
      return entries;
    },
    adopt(disk) {
      followed = disk;
    },
    visible: (disk) => (waits ? Math.min(entries.length, disk.entries.length) : disk.entries.length),
    follow(disk, count, life, then) {
      if (mode === "none") return then();
      const taken = disk.entries.slice(0, count);
      world.after(standbyDelayMs * random.between(0.5, 1.5), () => {
        // It follows one coordinator: the one before it waits in vain.
        if (disk !== followed) return;
        if (taken.length > entries.length) entries = taken;
        if (waits && life.alive) then();
      });
      if (!waits) then();
    },
  };
}
