/**
 * How long the dashboard takes with a run of 500,000 steps, in a headless Chromium:
 * `deno run -A tests/dashboard/load_bench.ts [steps]`.
 *
 * `serve` is from nothing to a listening server, `page` from navigation to the charts in view drawn, both from the same start of
 * the process's own clock; each round has a new server and a new tab.
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

const rounds: { serve: number; page: number }[] = [];
await using browser = await Browser.launch(chromium);
for (let round = 0; round < ROUNDS; round++) {
  const start = performance.now();
  await using dashboard = await Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const serve = performance.now() - start;
  const page = await browser.open("about:blank");
  const navigated = performance.now();
  await page.send("Page.navigate", { url: dashboard.url });
  await until(
    async () =>
      await page.evaluate<boolean>(
        `document.querySelector("#status")?.dataset.state === "live"`,
      ).catch(() => false) || null,
    "the page",
  );
  const seen = performance.now() - navigated;
  const inPage = await page.evaluate<number | null>(
    `performance.getEntriesByName("drawn")[0]?.startTime ?? null`,
  );
  rounds.push({ serve, page: inPage ?? seen });
  console.log(
    `serve ${serve.toFixed(0)} ms, page ${(inPage ?? seen).toFixed(0)} ms (seen after ${
      seen.toFixed(0)
    } ms)`,
  );
}
const median = (of: "serve" | "page") =>
  rounds.map((round) => round[of]).toSorted((a, b) => a - b)[Math.floor(ROUNDS / 2)]!.toFixed(0);
console.log(`medians: serve ${median("serve")} ms, page ${median("page")} ms`);
