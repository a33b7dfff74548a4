/** What a course decides, as entries to be announced. Pure. */
import type { Settings } from "@zoswarm/shared/ledger/folds";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import type { RoundEffect } from "./state.ts";

type Announce = Extract<RoundEffect, { kind: "announce" }>;

const announce = (entry: Entry): Announce => ({ kind: "announce", entry, task: null });
const shown = (why: string) => (why.length > LIMITS.whyCharactersMax ? `${why.slice(0, LIMITS.whyCharactersMax - 1)}…` : why);

export const rateEntry = (settings: Settings, why: string) => announce({ kind: "rate", ...settings, why: shown(why) });
export const restoreEntry = ({ step, stateHash }: { step: number; stateHash: string }) => announce({ kind: "restore", step, stateHash });
export const endEntry = (reason: Extract<Entry, { kind: "end" }>["reason"], why: string) =>
  announce({ kind: "end", reason, why: shown(why) });

/** The initial state, to go back to. */
export const startOf = ({ stateHash }: Manifest) => ({ step: -1, stateHash });

export const figure = (value: number) => value.toPrecision(3);
