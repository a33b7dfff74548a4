/**
 * Builds kernel.wasm from kernel.as.ts with AssemblyScript's compiler: `npm run kernel`. The binary is committed, so that a
 * checkout needs no compiler; a test rebuilds it and compares the bytes.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Compiles the kernel; the same source and compiler version give the same bytes. Throws with the compiler's diagnostics. */
export async function buildKernel(): Promise<Uint8Array> {
  let binary: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    [
      "kernel.as.ts",
      "--outFile",
      "kernel.wasm",
      "--baseDir",
      here("."),
      "--runtime",
      "stub",
      "--importMemory",
      "--noAssert",
      "-O3",
      "--converge",
      "--enable",
      "simd",
    ],
    {
      writeFile: (name: string, contents: string | Uint8Array) => {
        if (name === "kernel.wasm") binary = contents as Uint8Array;
      },
    },
  );
  if (error || !binary) throw new Error(`the kernel does not build: ${error?.message ?? ""}\n${stderr.toString()}`);
  return binary;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const binary = await buildKernel();
  writeFileSync(here("kernel.wasm"), binary);
  console.log(`kernel.wasm: ${binary.byteLength} bytes`);
}
