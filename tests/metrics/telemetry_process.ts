/** Hands one record of each type to OpenTelemetry and ends. */

import { TelemetrySink } from "../../lib/metrics/telemetry.ts";
import { CHECKPOINT, MACHINE, ROLLBACK, RUN, STEP, VALIDATION } from "./support.ts";

/** Metrics of a program's own. */
const OWN = { "layers.0.norm": 0.75, broken: null };

using sink = new TelemetrySink("tiny", "0.1.0");
for (
  const record of [RUN, { ...STEP, mfu_bf16: null, metrics: OWN }, VALIDATION, ROLLBACK, MACHINE]
) {
  sink.write(record);
}
sink.write(CHECKPOINT);
sink.write({ ...CHECKPOINT, error: "the disk is full" });
