/** Writes a run of 1000 records through its sinks and prints what it is warned of. */

import { RunSinks } from "../../lib/training/run_sinks.ts";
import { RUN, STEP } from "../metrics/support.ts";
import { tinyRun } from "./support.ts";

await using run = await tinyRun();
const config = run.config(`logging.tensorboard=${run.folder}/tb`);
using sinks = new RunSinks(config, {
  resumed: false,
  version: "0",
  observer: { warn: (message) => console.log(message) },
});
sinks.write(RUN);
for (let step = 1; step <= 1000; step++) sinks.write({ ...STEP, step });
console.log("ended");
