/**
 * `npm run bench [-- NAME] [options]`: one file beside this one for each benchmark, `ratios` where none is named. Each takes its own
 * options and says whether its bounds were kept; exits 1 where one was missed.
 */
interface Benchmark {
  run(args: string[]): Promise<boolean>;
}

const BENCHMARKS: Record<string, () => Promise<Benchmark>> = {
  ratios: () => import("./ratios.ts"),
  latejoin: () => import("./latejoin.ts"),
  reconnect: () => import("./reconnect.ts"),
  latency: () => import("./latency.ts"),
  scale: () => import("./scale.ts"),
  quality: () => import("./quality/quality.ts"),
  tricks: () => import("./quality/tricks.ts"),
  choice: () => import("./quality/choice.ts"),
  swarm: () => import("./swarm.ts"),
};

const [first = "", ...rest] = process.argv.slice(2);
const named = first !== "" && !first.startsWith("-");
const load = BENCHMARKS[named ? first : "ratios"];
if (load === undefined) {
  console.error(`bench ${first}: unknown; the benchmarks are ${Object.keys(BENCHMARKS).join(", ")}`);
  process.exit(1);
}
try {
  const kept = await (await load()).run(named ? rest : process.argv.slice(2));
  process.exit(kept ? 0 : 1);
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
