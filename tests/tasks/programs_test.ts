/** Programs that tasks start: Deno refuses them to a task with a list of programs where LD_LIBRARY_PATH is set, as on most GPU machines. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { PERMISSIONS } from "../../lib/dist/release.ts";
import config from "../../deno.json" with { type: "json" };

const SPAWN = `const { success } = await new Deno.Command("deno", { args: ["--version"] }).output();
console.log(success);`;

/** Each task's flags of permission, and those of a release. */
const flagsOf = new Map<string, readonly string[]>([["a release", PERMISSIONS]]);
for (const [name, task] of Object.entries(config.tasks)) {
  const flags = task.command?.split(" ").filter((word) => word.startsWith("--allow-")) ?? [];
  if (flags.some((flag) => flag.startsWith("--allow-run"))) flagsOf.set(`task ${name}`, flags);
}

Deno.test("every task that starts programs does so where LD_LIBRARY_PATH is set", async () => {
  assert(flagsOf.size > 5, "no task starts programs");
  const folder = await Deno.makeTempDir();
  try {
    const script = join(folder, "spawn.ts");
    await Deno.writeTextFile(script, SPAWN);
    for (const [name, flags] of flagsOf) {
      const { stdout, stderr } = await new Deno.Command("deno", {
        args: ["run", "--no-config", "--no-prompt", ...flags, script],
        env: { LD_LIBRARY_PATH: folder },
      }).output();
      const text = new TextDecoder().decode(stdout);
      assertEquals(text, "true\n", `${name}: ${new TextDecoder().decode(stderr)}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
