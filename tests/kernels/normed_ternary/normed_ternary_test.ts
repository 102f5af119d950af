/** A norm and a product as one op beside the two ops, to the last bit. That a card ran one kernel shows in q, which it leaves alone. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { gemmTernaryPackedForward } from "../../../lib/kernels/gemm_ternary.ts";
import { gluNormForward } from "../../../lib/kernels/glu_norm.ts";
import {
  gluNormGemmTernaryForward,
  rmsnormGemmTernaryForward,
} from "../../../lib/kernels/normed_ternary.ts";
import { packedWidth } from "../../../lib/kernels/pack_ternary.ts";
import { rmsnormForward } from "../../../lib/kernels/rmsnorm.ts";
import { type Activation, ACTIVATIONS, normalsOf, stored } from "../../support/activation.ts";
import { assertSameBits } from "../../support/compare.ts";
import { cudaTest, onEveryIsa, openCpu } from "../../support/devices.ts";
import { type Random, withRandom } from "../../support/random.ts";
import { GuardedMemory, int8sOf } from "../../support/sentinel.ts";

const GATES = [null, "silu", "relu2"] as const;
const QUANTIZERS = ["absmax", "absmean"] as const;
const RESIDUALS = ["none", "apart", "y"] as const;

interface Case {
  M: number;
  N: number;
  K: number;
  gate: typeof GATES[number];
  quantizer: typeof QUANTIZERS[number];
  residual: typeof RESIDUALS[number];
  x: Activation;
  y: Activation;
}

interface Inputs {
  x: Float32Array<ArrayBuffer>;
  normWeight: Float32Array<ArrayBuffer>;
  packed: Int32Array<ArrayBuffer>;
  wScale: Float32Array<ArrayBuffer>;
  residual: Float32Array<ArrayBuffer>;
}

/** Codes 0 to 2, a word at a time. */
function codesOf(random: Random, words: number): Int32Array<ArrayBuffer> {
  const period = Int32Array.from({ length: Math.min(words, 100_003) }, () => {
    const word = random.word();
    return word & ~((word & (word >>> 1) & 0x55555555) * 3);
  });
  return Int32Array.from({ length: words }, (_, i) => period[i % period.length]!);
}

function inputsOf(random: Random, { M, N, K, gate, x, y }: Case): Inputs {
  return {
    x: normalsOf(random, M * K * (gate === null ? 1 : 2), { std: 3, dtype: x }),
    normWeight: random.normals(K).map((value) => 1 + 0.3 * value),
    packed: codesOf(random, N * packedWidth(K)),
    wScale: random.normals(N, 0.02),
    residual: normalsOf(random, M * N, { dtype: y }),
  };
}

/** y as one op or as two, and q. */
function run(device: Device, shape: Case, inputs: Inputs, fused: boolean) {
  const { M, N, K, gate, quantizer, residual } = shape;
  using memory = new GuardedMemory(device);
  const q = memory.output("q", "int8", [M, K]);
  const scale = memory.output("scale", "float32", [M]);
  const x = memory.input("x", [M, gate === null ? K : 2 * K], stored(inputs.x, shape.x));
  const weight = memory.input("weight", [K], inputs.normWeight);
  const packed = memory.input("packed", [N, packedWidth(K)], inputs.packed);
  const wScale = memory.input("wScale", [N], inputs.wScale);
  const added = stored(inputs.residual, shape.y);
  const y = residual === "y"
    ? memory.inout("y", [M, N], added)
    : memory.output("y", shape.y, [M, N]);
  const product = {
    packed,
    wScale,
    residual: residual === "none"
      ? null
      : residual === "y"
      ? y
      : memory.input("residual", [M, N], added),
    y,
  };
  const eps = Math.fround(1e-5);
  if (fused) {
    const operands = { normWeight: weight, eps, quantizer, q, scale, ...product };
    if (gate === null) rmsnormGemmTernaryForward({ x, ...operands });
    else gluNormGemmTernaryForward({ gateUp: x, act: gate, ...operands });
  } else {
    if (gate === null) rmsnormForward({ x, weight, eps, quantizer, q, scale });
    else gluNormForward({ gateUp: x, act: gate, weight, eps, quantizer, q, scale });
    gemmTernaryPackedForward({ x: q, xScale: scale, ...product });
  }
  memory.check();
  return { y: y.download(new Uint8Array(y.bytes)), q: int8sOf(q) };
}

const POISON = -89; // 0xa7

/** Passes where both give the same y; with `alone`, where a card left q as it was. */
function assertSameAsTwo(device: Device, shape: Case, inputs: Inputs, alone?: boolean): void {
  const name = JSON.stringify(shape);
  const one = run(device, shape, inputs, true), two = run(device, shape, inputs, false);
  assertSameBits({ name: `y of ${name}`, actual: one.y, expected: two.y });
  assert(two.q.some((value) => value !== two.q[0]), `q of ${name} says nothing`);
  if (alone === undefined) return;
  assertEquals(one.q.every((value) => value === POISON), alone, `one kernel for ${name}`);
}

/** Every kind of operand, one after the other. */
function* kinds(dtypes: readonly Activation[]): Generator<Omit<Case, "M" | "N" | "K">> {
  for (let turn = 0;; turn++) {
    yield {
      gate: GATES[turn % 3]!,
      quantizer: QUANTIZERS[turn % 2]!,
      residual: RESIDUALS[Math.floor(turn / 3) % 3]!,
      x: dtypes[Math.floor(turn / 2) % dtypes.length]!,
      y: dtypes[Math.floor(turn / 5) % dtypes.length]!,
    };
  }
}

Deno.test(
  "a norm and a product as one op give the bits of the two ops on every instruction set",
  withRandom((random) => {
    const kind = kinds(["float32"]);
    for (const M of [1, 2, 5]) {
      for (const [N, K] of [[1, 5], [17, 64], [33, 100], [130, 320]] as const) {
        for (let i = 0; i < 6; i++) {
          const shape = { M, N, K, ...kind.next().value! };
          const inputs = inputsOf(random, shape);
          onEveryIsa((device) => assertSameAsTwo(device, shape, inputs));
        }
      }
    }
  }),
);

cudaTest(
  "a norm and a product are one kernel with the two's bits at every width",
  (device, random) => {
    // Around each width where the norms' kernels have other threads.
    const widths = [64, 128, 320, 768, 1024, 1088, 1536, 2048, 2112, 3072, 3200, 4096, 4160, 5632];
    for (const K of widths) {
      for (const gate of GATES) {
        for (const quantizer of QUANTIZERS) {
          for (const x of ACTIVATIONS) {
            const M = random.integer(1, 2), N = [1, 16, 17, 130][random.integer(0, 3)]!;
            const y = ACTIVATIONS[random.integer(0, 1)]!;
            const residual = RESIDUALS[random.integer(0, 2)]!;
            const shape: Case = { M, N, K, gate, quantizer, residual, x, y };
            assertSameAsTwo(device, shape, inputsOf(random, shape), true);
          }
        }
      }
    }
  },
);

cudaTest(
  "a norm and a product are one kernel with the two's bits for up to 4 rows of a model",
  (device, random) => {
    const products = [
      { N: 6144, K: 2048, gate: null },
      { N: 2048, K: 2048, gate: null },
      { N: 11264, K: 2048, gate: null },
      { N: 2048, K: 5632, gate: "silu" },
      { N: 3200, K: 8640, gate: "relu2" },
      { N: 20480, K: 3200, gate: null },
    ] as const;
    for (const product of products) {
      for (const M of [1, 2, 3, 4]) {
        for (const quantizer of QUANTIZERS) {
          const x: Activation = product.gate === null ? ACTIVATIONS[M % 2]! : "bfloat16";
          const shape: Case = { ...product, M, quantizer, residual: "apart", x, y: "float32" };
          assertSameAsTwo(device, shape, inputsOf(random, shape), true);
        }
      }
    }
  },
);

cudaTest(
  "a norm and a product are two kernels where one has no room or no rows for it",
  (device, random) => {
    const shapes = [
      { M: 5, N: 130, K: 2048 }, // more rows
      { M: 64, N: 33, K: 320 },
      { M: 70, N: 33, K: 320 },
      { M: 1, N: 130, K: 1030 }, // no whole chunks
      { M: 4, N: 17, K: 12288 }, // more than shared memory holds
      { M: 1, N: 17, K: 16448 }, // longer than rows in registers are
    ];
    for (const sizes of shapes) {
      for (const quantizer of QUANTIZERS) {
        const shape: Case = {
          ...sizes,
          quantizer,
          gate: null,
          residual: "none",
          x: "float32",
          y: "bfloat16",
        };
        assertSameAsTwo(device, shape, inputsOf(random, shape), false);
      }
    }
    for (const sizes of [{ M: 1, N: 17, K: 12288 }, { M: 1, N: 17, K: 16384 }]) {
      const shape: Case = {
        ...sizes,
        quantizer: "absmean",
        gate: null,
        residual: "y",
        x: "float32",
        y: "float32",
      };
      assertSameAsTwo(device, shape, inputsOf(random, shape), true);
    }
  },
);

cudaTest("TITANBIT_NO_FUSED_DECODE=1 has two kernels", (device, random) => {
  const shape: Case = {
    ...{ M: 1, N: 130, K: 2048, gate: null, quantizer: "absmax", residual: "none" },
    ...{ x: "float32", y: "bfloat16" },
  };
  const inputs = inputsOf(random, shape);
  Deno.env.set("TITANBIT_NO_FUSED_DECODE", "1");
  try {
    assertSameAsTwo(device, shape, inputs, false);
  } finally {
    Deno.env.delete("TITANBIT_NO_FUSED_DECODE");
  }
});

cudaTest(
  "a norm and a product as one kernel have the two's bits when rows are zeros or not finite",
  (device, random) => {
    for (const value of [0, NaN, Infinity, 3e38, 1e-30]) {
      for (const gate of GATES) {
        for (const quantizer of QUANTIZERS) {
          const shape: Case = {
            M: 3,
            N: 33,
            K: 2112,
            gate,
            quantizer,
            residual: "apart",
            x: "bfloat16",
            y: "float32",
          };
          const inputs = inputsOf(random, shape);
          const width = inputs.x.length / 3;
          if (value === 0) inputs.x.fill(0, width, 2 * width);
          else inputs.x[width + random.integer(0, width - 1)] = value;
          assertSameAsTwo(device, shape, inputs);
        }
      }
    }
  },
);

Deno.test("a norm and a product as one op refuse y in the place of x, and no quantiser", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const x = memory.inout("x", [2, 16], new Float32Array(32));
  const operands = {
    normWeight: memory.input("weight", [16], new Float32Array(16)),
    eps: 1e-5,
    quantizer: "absmax" as const,
    q: memory.output("q", "int8", [2, 16]),
    scale: memory.output("scale", "float32", [2]),
    packed: memory.input("packed", [16, 1], new Int32Array(16)),
    wScale: memory.input("wScale", [16], new Float32Array(16)),
  };
  assertThrows(() => rmsnormGemmTernaryForward({ x, ...operands, y: x }), Error, "y must not be");
  const y = memory.output("y", "float32", [2, 16]);
  const none = "none" as "absmax";
  assertThrows(
    () => rmsnormGemmTernaryForward({ x, ...operands, quantizer: none, y }),
    Error,
    "quant must be 1 or 2",
  );
  assertThrows(
    () => rmsnormGemmTernaryForward({ x, ...operands, y: y.rows(0, 1) }),
    RangeError,
  );
});
