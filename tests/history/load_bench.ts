/**
 * How long a run of half a million steps takes to load.
 *
 *     deno run --allow-read --allow-write tests/history/load_bench.ts
 */

import { downsample } from "../../lib/history/downsample.ts";
import { LineFollower } from "../../lib/history/line_follower.ts";
import { RunHistory } from "../../lib/history/run_history.ts";
import { smooth } from "../../lib/history/smoothing.ts";
import { lines, runFolder, runRecord, stepRecord } from "./support.ts";

const STEPS = 500_000;
const PART = 20_000;

await using run = await runFolder(lines(runRecord({ steps: STEPS })));
for (let first = 1; first <= STEPS; first += PART) {
  run.append(lines(...Array.from({ length: PART }, (_, index) => {
    const noise = Math.random();
    const times = { forward_ms: 80 + noise, backward_ms: 223 + noise, step_ms: 320 + noise };
    return stepRecord(first + index, {
      ...times,
      ...{ loss: 2 + noise, grad_norm: 0.3 + noise / 7, lr: noise / 999, data_ms: noise / 3 },
      ...{ tokens_per_s: 408_000 + 1000 * noise, mfu_bf16: 0.3 + noise / 9, mfu_mixed: noise / 3 },
    });
  })));
}
console.log(`${(Deno.statSync(run.file).size / 1e6).toFixed(0)} MB, ${STEPS} steps`);
for (let round = 0; round < 5; round++) {
  const start = performance.now();
  const history = new RunHistory();
  await new LineFollower(run.file, history).poll();
  const loaded = performance.now();
  const { steps } = history;
  const smoothed = smooth(steps.get("loss")!, 20).values;
  downsample(
    steps,
    { from: 0, to: steps.length, points: 2000 },
    new Map([["loss_smooth", smoothed]]),
  );
  const thinned = performance.now();
  console.log(
    `loaded in ${(loaded - start).toFixed(0)} ms, thinned out in ${
      (thinned - loaded).toFixed(0)
    } ms`,
  );
}
