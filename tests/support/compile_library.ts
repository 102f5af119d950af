/** Shared libraries made in a test. */

import { join } from "@std/path";

/** Compiles C code to a library in `folder`. */
export async function compileLibrary(folder: string, code: string): Promise<string> {
  const source = join(folder, "library.c");
  const path = join(folder, "library.so");
  await Deno.writeTextFile(source, code);
  // Deno starts no named program with the LD_* variables that this environment may have: the compiler gets what it needs.
  const env: Record<string, string> = {};
  for (const name of ["PATH", "HOME", "TMPDIR", "CC"]) {
    const value = Deno.env.get(name);
    if (value !== undefined) env[name] = value;
  }
  const { success, stderr } = await new Deno.Command("sh", {
    args: ["-c", '${CC:-gcc} -shared -fPIC -o "$0" "$1"', path, source],
    clearEnv: true,
    env,
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return path;
}
