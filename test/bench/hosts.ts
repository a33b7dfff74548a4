/**
 * Several volunteers in one process, each the worker's own program: its node, its session, its evaluator's thread, its folder. A
 * process of its own for each would be measured on loading the same code fifty times.
 * `node hosts.ts ADDRESS DIR FIRST COUNT`
 */
import { EventEmitter } from "node:events";
import { join } from "node:path";
import { run } from "../../worker/src/run.ts";

const [address = "", dir = "", first = "0", count = "0"] = process.argv.slice(2);
// Each listens for Ctrl-C.
EventEmitter.defaultMaxListeners = 0;
console.log = () => {};
const ran = await Promise.all(
  Array.from({ length: Number(count) }, (_, i) => {
    const name = `worker-${Number(first) + i}`;
    return run({
      join: [address],
      threads: 1,
      name,
      allowRewards: false,
      listen: [],
      serve: false,
      keepSnapshots: false,
      data: join(dir, name),
    });
  }),
);
for (const one of ran) if (!one.ok) console.error(one.message);
process.exit(ran.every(({ ok }) => ok) ? 0 : 1);
