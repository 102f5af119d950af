import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { runTask, withCheckpoint } from "./support.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** The task with its own permissions: it needs neither the library nor the environment. */
async function exportTask(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: ["task", "--quiet", "export", ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("export writes a folder from which generate gives the same text", () =>
  withCheckpoint(async ({ folder, checkpoint }) => {
    const output = join(folder, "exported");
    const { code, stdout, stderr } = await exportTask(
      ...["--checkpoint", join(folder, "run"), "--output", output],
    );
    assertEquals([code, stdout], [0, `${output}\n`], stderr);
    assertMatch(stderr, /step_0000009: model\.safetensors, config\.json, tokenizer\.json, \d/);
    const text = async (from: string) =>
      (await runTask("generate", ["--checkpoint", from, "--prompt", "ab", "--max-tokens", "12"]))
        .stdout;
    assertEquals(await text(output), await text(checkpoint));
  }));

Deno.test("export and report say so when the program may not write there", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const exported = await exportTask("--checkpoint", checkpoint, "--output", "/proc/none/a");
    assertEquals(exported.code, 1);
    assertMatch(
      exported.stderr,
      /^error: Cannot export to \/proc\/none\/a as it must be a new folder/,
    );
    const reported = await runTask("report", ["--run", checkpoint, "--output", "/proc/none/a"]);
    assertEquals(reported.code, 1);
    assertMatch(
      reported.stderr,
      /^error: Cannot write --output \/proc\/none\/a as \/proc\/none must/,
    );
  }));

Deno.test("export refuses a folder that holds something, in one line", () =>
  withCheckpoint(async ({ folder, checkpoint }) => {
    const { code, stdout, stderr } = await exportTask(
      ...["--checkpoint", checkpoint, "--output", folder],
    );
    assertEquals([code, stdout], [1, ""]);
    assertMatch(
      stderr,
      /^error: Cannot export to [^\n]* a folder with files in it; name another\n$/,
    );
  }));
