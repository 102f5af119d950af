import { assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { withFolder } from "./support.ts";

const SCRIPT = fromFileUrl(new URL("./save_process.ts", import.meta.url));
const CONFIG = fromFileUrl(new URL("../../deno.json", import.meta.url));
const DENO = `deno run -q -A --no-check --config "${CONFIG}" "${SCRIPT}"`;

type Line = { saved?: number; failed?: number; name?: string; message?: string; names?: string[] };

async function shell(script: string, run: string): Promise<Line[]> {
  const command = new Deno.Command("sh", { args: ["-c", script, "sh", run] });
  const { stdout, stderr } = await command.output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n").filter((line) => line !== "");
  if (lines.length === 0) throw new Error(new TextDecoder().decode(stderr));
  return lines.map((line) => JSON.parse(line));
}

function assertSurvived([first, second, third]: Line[], cause: string): void {
  assertEquals([first, third], [{ saved: 1 }, { saved: 3 }]);
  assertEquals([second!.failed, second!.name], [2, "CheckpointError"]);
  assertStringIncludes(second!.message!, cause);
  assertStringIncludes(second!.message!, "earlier checkpoints are untouched");
  assertEquals(second!.names, [".lock", "step_0000001"]);
}

Deno.test("saveCheckpoint() fails cleanly when files may not grow, and works again after", async () => {
  await withFolder(async (run) => {
    // 1,000 blocks of 512 bytes; ignoring the signal turns it into an error of write().
    const lines = await shell(`trap '' XFSZ; ulimit -f 1000; ${DENO} full "$1"`, run);
    assertSurvived(lines, "File too large");
  });
});

const MOUNT = `mount -t tmpfs -o size=1500k none "$1"`;

function canMount(): boolean {
  const folder = Deno.makeTempDirSync();
  try {
    const args = ["-c", `unshare -rm sh -c '${MOUNT}' sh "$1"`, "sh", folder];
    return new Deno.Command("sh", { args, stdout: "null", stderr: "null" }).outputSync().success;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test({
  name: "saveCheckpoint() fails cleanly when the disk is full, and works again after",
  ignore: !canMount(), // user namespaces are switched off on some systems
  fn: async () => {
    await withFolder(async (folder) => {
      const run = join(folder, "disk");
      Deno.mkdirSync(run);
      const script = join(folder, "fill.sh"); // in a file: the commands hold quotes of both kinds
      Deno.writeTextFileSync(script, `${MOUNT} && ${DENO} full "$1"`);
      const lines = await shell(`unshare -rm sh "${script}" "$1"`, run);
      assertSurvived(lines, "No space left on device");
    });
  },
});
