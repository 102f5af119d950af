/**
 * How long the dashboard takes with a run of 500,000 steps, in a headless Chromium:
 * `deno run -A tests/dashboard/load_bench.ts [steps]`.
 *
 * From navigation to the charts in view drawn, by the page's own clock: of the first page of a server that has just begun to read
 * the run, and of the next one. Each round has a new server, so that the run is read and parsed each time; its file is in the cache.
 */

import { Dashboard } from "../../lib/dashboard/server.ts";
import { lines, machineRecord, runFolder, runRecord, stepRecord } from "../history/support.ts";
import { Browser, findChromium, until } from "../support/chromium.ts";

const STEPS = Number(Deno.args[0] ?? 500_000);
const PART = 20_000;
const ROUNDS = 7;

const chromium = await findChromium();
if (chromium === null) throw new Error("Cannot measure without a Chromium: install it");
await using run = await runFolder(lines(runRecord({ steps: STEPS })));
for (let first = 1; first <= STEPS; first += PART) {
  const count = Math.min(PART, STEPS - first + 1);
  run.append(lines(
    ...Array.from({ length: count }, (_, index) => {
      const noise = Math.random();
      const step = first + index;
      const record = stepRecord(step, {
        ...{ forward_ms: 80 + noise, backward_ms: 223 + noise, step_ms: 320 + noise },
        ...{ loss: 2 + noise, grad_norm: 0.3 + noise / 7, lr: noise / 999, data_ms: noise / 3 },
        ...{
          tokens_per_s: 408_000 + 1000 * noise,
          mfu_bf16: 0.3 + noise / 9,
          mfu_mixed: noise / 3,
        },
      });
      // Steps of a third of a second, and a look at the machine every 10.
      return step % 30 === 0 ? [record, machineRecord(step)] : [record];
    }).flat(),
  ));
}
console.log(`${(Deno.statSync(run.file).size / 1e6).toFixed(0)} MB, ${STEPS} steps`);

/** Navigates a new tab and gives the time until the charts in view are drawn, by the page's own clock. */
async function pageMs(browser: Browser, url: string): Promise<number> {
  const page = await browser.open(url);
  const drawn = `performance.getEntriesByName("drawn")[0]?.startTime ?? null`;
  // A page that is about to be another one may fail to answer.
  return await until(() => page.evaluate<number | null>(drawn).catch(() => null), "the charts");
}

const cold: number[] = [];
const warm: number[] = [];
await using browser = await Browser.launch(chromium);
for (let round = 0; round < ROUNDS; round++) {
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  cold.push(await pageMs(browser, dashboard.url));
  warm.push(await pageMs(browser, dashboard.url));
  console.log(`first page ${cold.at(-1)!.toFixed(0)} ms, next ${warm.at(-1)!.toFixed(0)} ms`);
}
const median = (of: number[]) =>
  of.toSorted((a, b) => a - b)[Math.floor(of.length / 2)]!.toFixed(0);
console.log(`medians: first page ${median(cold)} ms, next ${median(warm)} ms`);
