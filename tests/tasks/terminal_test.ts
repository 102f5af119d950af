/** What `train` shows in a real terminal. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { hasScript, startInTerminal } from "../support/terminal.ts";
import { tinyRun } from "../training/support.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
const ignore = !hasScript();

/** All that the terminal showed of a run, and the lines of progress as they were drawn over each other. */
async function trainIn(
  terminal: { columns?: number; env?: Record<string, string> },
  ...set: string[]
): Promise<{ text: string; bars: string[] }> {
  await using run = await tinyRun();
  const args = ["--config", run.file, ...set.flatMap((one) => ["--set", one])];
  const words = [Deno.execPath(), "task", "--quiet", "train", ...args];
  const started = startInTerminal(words, { cwd: ROOT, ...terminal });
  const text = await started.until(() => false);
  assertEquals((await started.process.status).code, 0, text);
  const bars = text.split("\r\x1b[K").slice(1).map((drawn) => drawn.split("\r\n")[0]!);
  return { text, bars: bars.filter((drawn) => drawn.startsWith("train ")) };
}

Deno.test({
  name:
    "train shows percentage, time left and speed on a terminal of 80 columns, in lines that fit",
  ignore,
  fn: async () => {
    const { bars } = await trainIn({ columns: 80 });
    assert(bars.length > 0);
    for (const bar of bars) assert(bar.length < 80, bar);
    assertMatch(bars.at(-1)!, /^train 100% after .* {2}step 20\/20 {2}loss \d.*tok\/s/);
  },
});

Deno.test({
  name: "train takes a terminal that says 0 columns for one of 80",
  ignore,
  fn: async () => {
    const { bars } = await trainIn({ columns: 0 });
    assertMatch(bars.at(-1)!, /^train 100% after .* {2}step 20\/20 {2}loss \d.*tok\/s/);
  },
});

Deno.test({
  name: "train writes no escape code to a terminal that is dumb",
  ignore,
  fn: async () => {
    const { text } = await trainIn({ env: { TERM: "dumb", NO_COLOR: "1" } });
    assert(!text.includes("\x1b"), JSON.stringify(text.slice(0, 500)));
    assert(text.includes("train step 20/20"), text);
  },
});
