import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { benchForward, checkForward, samples } from "../../lib/bench/forward_bench.ts";
import {
  FORWARD_KERNELS,
  type ForwardKernel,
  makeForwardProduct,
} from "../../lib/bench/forward_products.ts";
import { formatReports, reportsJson } from "../../lib/bench/kernel_report.ts";
import { runForwardSuite } from "../../lib/bench/kernel_suites.ts";
import { readNumbers } from "../../lib/bench/periodic.ts";
import { BFLOAT16, encodeMinifloat, FLOAT16 } from "../../lib/bench/minifloat.ts";
import type { Device } from "../../lib/ffi/device.ts";
import { countPeerAlgorithms, PEER_KINDS, type PeerKind } from "../../lib/kernels/peer_gemm.ts";
import { BYTES, type DType } from "../../lib/tensor/dtype.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { cudaTest, openCpu } from "../support/devices.ts";

const SIZES = { M: 5, N: 21, K: 40 };
const ROOFS = { memoryBytesPerS: 1e10, peak: null };
const KERNELS = Object.keys(FORWARD_KERNELS) as ForwardKernel[];

Deno.test("makeForwardProduct() knows what every element has to be", () => {
  using device = openCpu();
  for (const kernel of ["ternary int8", "ternary 2-bit"] as const) {
    using product = makeForwardProduct(device, kernel, SIZES, { cacheBytes: 10_000 })!;
    const runs = product.runs(0);
    assert(runs.length > 1);
    for (const run of runs) run();
    const y = readNumbers(product.result);
    for (const [index, actual] of y.entries()) {
      const { value, magnitude, bits } = product.exact(
        Math.floor(index / SIZES.N),
        index % SIZES.N,
      );
      assertEquals(actual, bits);
      assertAlmostEquals(actual, value, 1e-6 * magnitude);
    }
    assert(y.some((value) => value !== 0));
  }
});

Deno.test("makeForwardProduct() measures the weights' buffers: 16 to 1 in 2 bits, 4 to 1 in int8", () => {
  using device = openCpu();
  const sizes = { M: 1, N: 8, K: 64 };
  using packed = makeForwardProduct(device, "ternary 2-bit", sizes, { cacheBytes: 0 })!;
  using int8 = makeForwardProduct(device, "ternary int8", sizes, { cacheBytes: 0 })!;
  assertEquals([packed.float32ToWeights, int8.float32ToWeights], [16, 4]);
  assertEquals(packed.bytes, 64 + 8 * 16 + 4 * 9 + 4 * 8);
  assertEquals(int8.bytes, 64 + 8 * 64 + 4 * 9 + 4 * 8);
});

Deno.test("checkForward() throws naming kernel and place when an element is wrong", () => {
  using device = openCpu();
  using product = makeForwardProduct(device, "ternary int8", SIZES, { cacheBytes: 0 })!;
  product.runs(0)[0]!();
  assert(checkForward(product, SIZES) < 1e-6);
  const y = product.result.toFloat32Array();
  for (const wrong of [NaN, y[0]! + 1e-3, Infinity]) {
    product.result.upload(Float32Array.from(y, (value, i) => i === 0 ? wrong : value));
    assertThrows(
      () => checkForward(product, SIZES),
      Error,
      "ternary int8 of 5 x 21 x 40 is wrong at (0, 0)",
    );
  }
});

Deno.test("benchForward() measures the project's kernels on the CPU, where there is no peer", () => {
  using device = openCpu();
  const { rows, float32ToPacked } = benchForward(device, { M: 3, N: 32, K: 64 }, {
    roofs: ROOFS,
    cacheBytes: 0,
    repeat: 2,
    sampleMs: 0.01,
  });
  assertEquals(rows.map(({ kernel }) => kernel), ["ternary int8", "ternary 2-bit"]);
  assertEquals(float32ToPacked, 16);
  for (const row of rows) {
    assertEquals(row.operations, 2 * 3 * 32 * 64);
    assertAlmostEquals(row.top_per_s * row.us * 1e6, row.operations, 1e-6 * row.operations);
    assertEquals([row.speedup, row.share_of_limit], [null, null]);
  }
});

Deno.test("runForwardSuite() gives a row to each shape and kernel, in tables and in JSON", () => {
  using device = openCpu();
  const report = runForwardSuite(device, "gemv", {
    shapes: [{ M: 1, N: 16, K: 32 }, { M: 2, N: 8, K: 48 }],
    roofs: ROOFS,
    cacheBytes: 0,
    repeat: 1,
    sampleMs: 0.01,
  });
  const text = formatReports(device, ROOFS, [report]);
  assertEquals(text.match(/^(1 x 16 x 32|2 x 8 x 48) /gm)?.length, 2);
  assert(text.includes("float32 : packed = 16.00 : 1"), text);
  const json = JSON.parse(
    JSON.stringify(reportsJson(device, { repeat: 1, roofs: ROOFS, reports: [report] })),
  );
  assertEquals(json.reports[0].rows.length, 4);
  assertEquals(json.memory_gbyte_per_s, 10);
});

Deno.test("samples() gives the ends and others between, none twice", () => {
  assertEquals(samples(1, 8), [0]);
  assertEquals(samples(3, 8).sort(), [0, 1, 2]);
  const many = samples(1000, 8);
  assertEquals(many.slice(0, 2), [0, 999]);
  assertEquals(new Set(many).size, 8);
});

/** Puts rivals into a CPU device, computed in FP64: algorithm 0 is refused, 1 is slow. `spoil` changes their results. */
function withPeers(device: Device, spoil: (kind: PeerKind, value: number) => number): void {
  const kinds = Object.keys(PEER_KINDS) as PeerKind[];
  const symbols = {
    ...device.symbols,
    tb_peer_algorithms: (
      ...[, , , , , count]: Parameters<typeof device.symbols.tb_peer_algorithms>
    ) => {
      (count as Int32Array)[0] = 3;
      return 0;
    },
    tb_peer_gemm: (
      ...[, code, algorithm, a, b, c, M, N, K]: Parameters<typeof device.symbols.tb_peer_gemm>
    ) => {
      if (algorithm === 0) return 2;
      const kind = kinds.find((one) => PEER_KINDS[one].code === code)!;
      const { operands, result } = PEER_KINDS[kind];
      const at = (address: bigint | number, dtype: DType, shape: number[]) =>
        new Tensor({ device, address: BigInt(address) }, { name: "peer", dtype, shape });
      const [m, n, k] = [Number(M), Number(N), Number(K)];
      const x = readNumbers(at(a, operands, [m, k])), w = readNumbers(at(b, operands, [n, k]));
      const sums = Float64Array.from({ length: m * n }, (_, i) => {
        let sum = 0;
        for (let j = 0; j < k; j++) sum += x[Math.floor(i / n) * k + j]! * w[i % n * k + j]!;
        return spoil(kind, sum);
      });
      const format = result === "float16" ? FLOAT16 : BFLOAT16;
      at(c, result, [m, n]).upload(
        result === "int32"
          ? Int32Array.from(sums)
          : Uint16Array.from(sums, (sum) => encodeMinifloat(sum, format)),
      );
      const end = performance.now() + (algorithm === 1 ? 3 : 0);
      while (performance.now() < end);
      return 0;
    },
  };
  Object.defineProperty(device, "symbols", { value: symbols });
}

const PEER_OPTIONS = { roofs: ROOFS, cacheBytes: 0, repeat: 2, sampleMs: 0.01 };

Deno.test("benchForward() measures each rival by the fastest algorithm that is not refused", () => {
  using device = openCpu();
  withPeers(device, (_, value) => value);
  const { rows } = benchForward(device, { M: 3, N: 16, K: 32 }, PEER_OPTIONS);
  assertEquals(rows.map(({ kernel }) => kernel), KERNELS);
  const bf16 = rows.find(({ kernel }) => kernel === "cuBLASLt bf16")!;
  for (const row of rows) {
    assertEquals(row.speedup, bf16.us / row.us);
    const { peer } = FORWARD_KERNELS[row.kernel as ForwardKernel];
    assertEquals(row.algorithm, peer === null ? undefined : { chosen: 2, offered: 3, refused: 1 });
    if (peer === null) continue;
    const { operands, result } = PEER_KINDS[peer];
    assertEquals(row.bytes, (3 + 16) * 32 * BYTES[operands] + 3 * 16 * BYTES[result]);
  }
});

for (const wrong of Object.keys(PEER_KINDS) as PeerKind[]) {
  Deno.test(`benchForward() throws when cuBLASLt's ${wrong} product is wrong`, () => {
    using device = openCpu();
    // A whole unit: roundings of sums of this size are less than a tenth.
    withPeers(device, (kind, value) => kind === wrong ? value + 1 : value);
    assertThrows(
      () => benchForward(device, { M: 3, N: 16, K: 32 }, PEER_OPTIONS),
      Error,
      `cuBLASLt ${wrong} of 3 x 16 x 32 is wrong at (0, 0)`,
    );
  });
}

cudaTest("benchForward() gives right results by every kernel that the card has", (device) => {
  for (
    const sizes of [{ M: 144, N: 272, K: 320 }, { M: 1, N: 256, K: 512 }, {
      M: 2048,
      N: 512,
      K: 1024,
    }]
  ) {
    const { rows } = benchForward(device, sizes, {
      roofs: ROOFS,
      cacheBytes: 1 << 20,
      repeat: 2,
      sampleMs: 0.1,
    });
    const expected = KERNELS.filter((kernel) => {
      const { peer } = FORWARD_KERNELS[kernel];
      return peer === null || countPeerAlgorithms(device, { kind: peer, ...sizes }) > 0;
    });
    assertEquals(rows.map(({ kernel }) => kernel), expected);
    const rival = rows.find(({ kernel }) => kernel === "cuBLASLt bf16");
    if (rival !== undefined) assertEquals(rival.speedup, 1);
  }
});
