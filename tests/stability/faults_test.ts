import { assertEquals } from "@std/assert";
import { type Fault, faultsAt } from "../../lib/stability/faults.ts";

const FAULT: Fault = { kind: "loss", steps: [4, 9], repeat: "once", factor: 10, ms: 0 };

Deno.test("faultsAt() finds the faults of a step", () => {
  const other: Fault = { ...FAULT, kind: "inf_loss", steps: [9] };
  assertEquals([4, 5, 9].map((step) => faultsAt([FAULT, other], step, 0).length), [1, 0, 2]);
});

Deno.test("faultsAt() leaves out what struck before, unless it always does", () => {
  const always: Fault = { ...FAULT, repeat: "always" };
  assertEquals(faultsAt([FAULT], 4, 4), []);
  assertEquals(faultsAt([FAULT], 9, 4), [FAULT]);
  assertEquals(faultsAt([always], 4, 4), [always]);
});
