/**
 * A run in a process of its own, to be killed: `killed_runner.ts CONFIG.json FAULTS.json [latest]`. Says where it begins and
 * each checkpoint, by the steps taken in all, and each rollback.
 */

import { BitNetConfig } from "../../lib/model/config.ts";
import { Trainer } from "../../lib/training/trainer.ts";

const [config, faults, resume] = Deno.args;
const read = (file: string) => JSON.parse(Deno.readTextFileSync(file));
const run = read(config!);
using trainer = await Trainer.open({ ...run, model: new BitNetConfig(run.model) }, {
  observer: {
    record(record) {
      if (record.type === "run") console.log("begun", record.step + record.undone_steps);
      if (record.type === "stability" && record.event === "rollback") console.log("back");
      if (record.type === "checkpoint") {
        console.log("saved", record.step + trainer.state.stability.undone);
      }
    },
    warn: (message) => console.log("warning", message),
  },
  version: "test",
  faults: read(faults!),
  ...(resume !== undefined && { resume }),
});
await trainer.run();
console.log("finished");
