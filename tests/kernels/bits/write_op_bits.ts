/** Writes tests/golden/op_bits.json for the instruction sets of this machine; those that it lacks stay as they are. */

import opBits from "../../golden/op_bits.json" with { type: "json" };
import { hasIsa, ISA_LEVELS, openCpu } from "../../support/devices.ts";
import { CASES, hashOf } from "./cases.ts";

const golden: Record<string, Record<string, string>> = opBits;
for (const isa of ISA_LEVELS) {
  if (!hasIsa(isa)) {
    console.warn(`warning: ${isa} stays as it was, as this machine lacks it`);
    continue;
  }
  using device = openCpu({ isa });
  golden[isa] = {};
  for (const name of Object.keys(CASES)) golden[isa][name] = await hashOf(device, name);
}
await Deno.writeTextFile(
  new URL("../../golden/op_bits.json", import.meta.url),
  JSON.stringify(golden, null, 2) + "\n",
);
