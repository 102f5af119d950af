/**
 * How far a page is behind a run that writes quickly, in a headless Chromium:
 * `deno run -A tests/dashboard/live_bench.ts [records a second] [seconds]`. Some 3,000 records are there before.
 */

import { Dashboard } from "../../lib/dashboard/server.ts";
import { lines, machineRecord, runFolder, runRecord, stepLines } from "../history/support.ts";
import { Browser, findChromium } from "../support/chromium.ts";
import { LIVE, text } from "./support.ts";

const [perS = 100, seconds = 8] = Deno.args.map(Number);
const FIRST = 3000;
const TICK_MS = 10;

const chromium = await findChromium();
if (chromium === null) throw new Error("Cannot measure without a Chromium: install it");
await using run = await runFolder(lines(runRecord({ steps: 1e6 })) + stepLines(1, FIRST));
await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
await using browser = await Browser.launch(chromium);
const page = await browser.open(dashboard.url);
await page.until(LIVE);

const started = performance.now();
let written = FIRST;
const writer = setInterval(() => {
  const due = FIRST + Math.floor((performance.now() - started) * perS / 1000);
  if (due === written) return;
  run.append(stepLines(written + 1, due) + lines(machineRecord(due)));
  written = due;
}, TICK_MS);
const behind: number[] = [];
while (performance.now() - started < 1000 * seconds) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  const before = written;
  const shown = parseInt(await page.evaluate<string>(text("0", "step")));
  behind.push(before - shown);
}
clearInterval(writer);
await page.until(`parseInt(${text("0", "step")}) === ${written}`);
behind.sort((a, b) => a - b);
console.log(
  `${written - FIRST} records in ${seconds} s: behind by ${
    behind[behind.length >> 1]
  } records (median), ${behind.at(-1)} at most; problems: ${page.problems.length}`,
);
