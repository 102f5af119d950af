import { assert } from "@std/assert";
import { Random } from "../support/random.ts";
import { tinyRun } from "../training/support.ts";
import { anyFault, prepareIoFaults } from "./io_faults.ts";

Deno.test("train loses nothing and ends in the same bits when calls on its files fail", async () => {
  await using run = await tinyRun();
  const faults = await prepareIoFaults(run);
  assert(faults.calls > 200, `${faults.calls} calls`);
  const random = new Random(11);
  for (let i = 0; i < 12; i++) {
    const fault = anyFault(random, faults.calls);
    const wrong = await faults.disturb(fault, `fault${i}`);
    assert(wrong === null, `${JSON.stringify(fault)}: ${wrong}`);
  }
});
