import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  formatKernelRows,
  kernelRow,
  type KernelWork,
  spreadOf,
} from "../../lib/bench/kernel_row.ts";
import { findRoofs, limitOf, type Roofs } from "../../lib/bench/roofs.ts";
import { openCpu } from "../support/devices.ts";

/** 2 TB/s; 1,000 and 2,000 TOP/s. */
const ROOFS: Roofs = {
  memoryBytesPerS: 2e12,
  peak: { card: "a card", bf16: 1000e12, int8: 2000e12, fp8: null },
};

const WORK: KernelWork = {
  shape: "1 x 2 x 3",
  kernel: "ternary int8",
  operations: 4e9,
  bytes: 8e6,
  arithmetic: "int8",
  max_error: 0,
};

Deno.test("limitOf() is the longer of the memory's and the arithmetic's time", () => {
  // 8 MB at 2 TB/s are 4 us; 4 GOP at 2,000 TOP/s are 2 us, at 1,000 TOP/s 4 us, 40 GOP are 20 us.
  assertEquals(limitOf(ROOFS, WORK), { by: "memory", us: 4 });
  assertEquals(limitOf(ROOFS, { ...WORK, operations: 40e9 }), { by: "compute", us: 20 });
  assertEquals(limitOf(ROOFS, { ...WORK, operations: 40e9, arithmetic: "bf16" }), {
    by: "compute",
    us: 40,
  });
});

Deno.test("limitOf() is null when the peak is unknown", () => {
  assertEquals(limitOf(ROOFS, { ...WORK, arithmetic: "fp8" }), null);
  assertEquals(limitOf({ ...ROOFS, peak: null }, WORK), null);
});

Deno.test("kernelRow() gives rates, ratio and share that fit the time", () => {
  const row = kernelRow(WORK, { us: 8, us_q1: 7, us_q3: 11 }, { roofs: ROOFS, rivalUs: 20 });
  assertEquals(row.top_per_s, 500);
  assertEquals(row.gbyte_per_s, 1000);
  assertEquals(row.speedup, 2.5);
  assertEquals(row.share_of_limit, 0.5);
  assertEquals(row.limit, "memory");
  assertEquals(spreadOf(row), 0.25);
});

Deno.test("kernelRow() has no ratio without a rival and no share without a peak", () => {
  const roofs = { ...ROOFS, peak: null };
  const row = kernelRow(WORK, { us: 8, us_q1: 8, us_q3: 8 }, { roofs, rivalUs: null });
  assertEquals([row.speedup, row.share_of_limit, row.limit], [null, null, null]);
});

Deno.test("formatKernelRows() names a shape once and shows what is missing as -", () => {
  const timing = { us: 8, us_q1: 7, us_q3: 11 };
  const first = kernelRow(WORK, timing, { roofs: ROOFS, rivalUs: 20 });
  const second = kernelRow({ ...WORK, kernel: "other" }, timing, {
    roofs: { ...ROOFS, peak: null },
    rivalUs: null,
  });
  const lines = formatKernelRows("M x N x K", [first, second]).split("\n");
  assertEquals(lines.length, 4);
  assert(
    /^1 x 2 x 3 +ternary int8 +8\.00 +25\.0 +500 +1000 +2\.50 +50 +memory +0\.0e\+0$/.test(
      lines[2]!,
    ),
  );
  assert(/^ +other +8\.00 +25\.0 +500 +1000 +- +- +- +0\.0e\+0$/.test(lines[3]!), lines[3]);
});

Deno.test("findRoofs() counts reads and writes of a copy and frees its memory", () => {
  using device = openCpu();
  const allocated: bigint[] = [], freed: bigint[] = [];
  const { tb_alloc, tb_free } = device.symbols;
  const symbols = {
    ...device.symbols,
    tb_alloc: (...values: Parameters<typeof tb_alloc>) => {
      const status = tb_alloc(...values);
      allocated.push((values[2] as BigUint64Array)[0]!);
      return status;
    },
    tb_free: (
      ...values: Parameters<typeof tb_free>
    ) => (freed.push(values[1] as bigint), tb_free(...values)),
  };
  Object.defineProperty(device, "symbols", { value: symbols });
  const roofs = findRoofs(device, { bytes: 1 << 20, repeat: 3 });
  assertEquals(roofs.peak, null);
  // Between a slow disk and any cache.
  assert(roofs.memoryBytesPerS > 1e7 && roofs.memoryBytesPerS < 1e13, `${roofs.memoryBytesPerS}`);
  assertEquals(freed.toSorted(), allocated.toSorted());
  assertEquals(allocated.length, 2);
  assertAlmostEquals(ROOFS.memoryBytesPerS, 2e12);
});
