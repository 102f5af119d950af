import { assert, assertEquals } from "@std/assert";
import { basename, fromFileUrl } from "@std/path";
import { findLatest, openLatest } from "../../lib/checkpoint/find.ts";
import { verifyCheckpoint } from "../../lib/checkpoint/open.ts";
import { saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { contentOf, holdsSeed, namesIn, withFolder } from "./support.ts";

const SCRIPT = fromFileUrl(new URL("./save_process.ts", import.meta.url));
const CONFIG = fromFileUrl(new URL("../../deno.json", import.meta.url));
const RUN = ["run", "-q", "-A", "--no-check", "--config", CONFIG, SCRIPT];

Deno.test("saveCheckpoint() keeps the old checkpoint when kill -9 hits it writing tensors", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(1));
    for (const calls of [1, 20, 39]) { // first tensor, in the optimizer, last tensor
      const args = [...RUN, "die", run, "2", String(calls)];
      const { stdout, success } = await new Deno.Command("deno", { args }).output();
      assertEquals([success, stdout.length], [false, 0]);
      const left = namesIn(run).filter((name) => name.startsWith(".tmp-step_0000002-"));
      assertEquals(left.length, 1, "the process died after the save");
      assertEquals(await verifyCheckpoint(path), []);
      assertEquals(await findLatest(run), { path, passedOver: [] });
    }
  });
});

Deno.test("saveCheckpoint() loses no finished checkpoint to kill -9 at any time", async () => {
  await withFolder(async (run) => {
    let saved = 0;
    for (let round = 0; round < 8; round++) {
      saved = await killWhileSaving(run, { first: saved + 1, afterMs: 7 * round });
      const { checkpoint, passedOver } = (await openLatest(run))!;
      assertEquals(passedOver, []);
      assert(checkpoint.step >= saved, `found ${basename(checkpoint.path)}, had saved ${saved}`);
      assert(await holdsSeed(checkpoint, checkpoint.step));
      saved = checkpoint.step;
    }
  });
});

/** Lets a process save until one is in place and some time passed; returns the last it told of. */
async function killWhileSaving(
  run: string,
  { first, afterMs }: { first: number; afterMs: number },
): Promise<number> {
  const args = [...RUN, "loop", run, String(first)];
  await using child = new Deno.Command("deno", { args, stdout: "piped" }).spawn();
  let text = "";
  let killed = false;
  for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (killed || !text.includes("saved")) continue;
    killed = true;
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    // By the id it printed: "deno" may be a launcher of the real process.
    const pid = /"pid":(\d+)/.exec(text)![1]!;
    await new Deno.Command("sh", { args: ["-c", `kill -9 ${pid}`] }).output();
  }
  const steps = [...text.matchAll(/"saved":(\d+)/g)].map((match) => Number(match[1]));
  return steps.at(-1)!;
}
