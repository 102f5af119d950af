/**
 * The bits of every op on fixed inputs, for each instruction set. They follow from the sources alone: a compiler, a C library or a
 * number of threads that changes one is a fault. After a change that is meant to change them:
 *
 *   deno run -A tests/kernels/bits/write_op_bits.ts
 *
 * on a machine with AVX-512 (VNNI), which runs all three.
 */

import { assertEquals } from "@std/assert";
import opBits from "../../golden/op_bits.json" with { type: "json" };
import { hasIsa, ISA_LEVELS, openCpu } from "../../support/devices.ts";
import { CASES, hashOf } from "./cases.ts";

const golden: Record<string, Record<string, string>> = opBits;

for (const isa of ISA_LEVELS) {
  const found = hasIsa(isa);
  Deno.test({
    name: `every op gives the checked-in bits with ${isa}${found ? "" : ": this machine lacks it"}`,
    ignore: !found,
    fn: async () => {
      for (const threads of [1, 2, 5]) {
        using device = openCpu({ isa, threads });
        const actual: Record<string, string> = {};
        for (const name of Object.keys(CASES)) actual[name] = await hashOf(device, name);
        assertEquals(actual, golden[isa], `${isa} with ${threads} threads`);
      }
    },
  });
}

Deno.test("the cases call every op of titanbit.h that computes on tensors", async () => {
  const header = await Deno.readTextFile(
    new URL("../../../cuda/include/titanbit.h", import.meta.url),
  );
  const computing = header.slice(header.indexOf("tb_random_normal"), header.indexOf("tb_file_map"));
  const declared = new Set(
    Array.from(computing.matchAll(/\b(tb_[a-z0-9_]+)\(/g), ([, name]) => name!),
  );
  declared.delete("tb_file_map");
  for (const peer of ["tb_peer_algorithms", "tb_peer_gemm"]) declared.delete(peer); // vendor libraries'
  const called = new Set(Object.values(CASES).flatMap(({ ops }) => ops));
  assertEquals([...called].sort(), [...declared].sort());
});
