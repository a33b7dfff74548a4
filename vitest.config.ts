import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{shared,coordinator,worker,deploy,test}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    pool: "forks",
    // Real processes and real models share the machine; a limit is there to end a hang, not to measure speed.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
