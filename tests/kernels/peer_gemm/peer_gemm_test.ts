import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../../lib/ffi/device.ts";
import { NativeError } from "../../../lib/ffi/errors.ts";
import {
  countPeerAlgorithms,
  PEER_KINDS,
  peerGemm,
  type PeerKind,
} from "../../../lib/kernels/peer_gemm.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { fromBfloat16, toBfloat16 } from "../../support/bfloat16.ts";
import { assertSame } from "../../support/compare.ts";
import { cudaTest, openCpu } from "../../support/devices.ts";
import { GuardedMemory } from "../../support/sentinel.ts";

const KINDS = Object.keys(PEER_KINDS) as PeerKind[];

/** Tiles and less, several tiles, and rows that fill none. */
const SHAPES = [
  { M: 16, N: 32, K: 64 },
  { M: 128, N: 256, K: 512 },
  { M: 37, N: 48, K: 80 },
  { M: 1, N: 64, K: 128 },
  { M: 300, N: 528, K: 256 },
];

/** Codes of e4m3 of -1, 0 and 1. */
const FP8_CODES: Record<string, number> = { "-1": 0xb8, "0": 0, "1": 0x38 };

/** Integers as a kind's operands keep them. */
function encode(kind: PeerKind, values: Int8Array) {
  if (kind === "int8") return new Int8Array(values);
  if (kind === "fp8") return Uint8Array.from(values, (value) => FP8_CODES[value]!);
  const floats = Float32Array.from(values);
  return kind === "bf16" ? toBfloat16(floats) : new Uint16Array(new Float16Array(floats).buffer);
}

/** A kind's result as numbers. */
function decode(kind: PeerKind, c: Tensor): number[] {
  if (kind === "int8") return [...c.download(new Int32Array(c.length))];
  const bits = c.download(new Uint16Array(c.length));
  return kind === "fp16" ? [...new Float16Array(bits.buffer)] : [...fromBfloat16(bits)];
}

function product(a: Int8Array, b: Int8Array, { M, N, K }: typeof SHAPES[number]): Float64Array {
  const c = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      for (let k = 0; k < K; k++) c[m * N + n]! += a[m * K + k]! * b[n * K + k]!;
    }
  }
  return c;
}

/**
 * Whether a card with cuBLASLt must have a kind for a shape: FP8 came with compute capability 8.9, and kinds of 8 bits ask for sizes
 * in steps of 16.
 */
function mustHave(device: Device, kind: PeerKind, { M }: typeof SHAPES[number]): boolean {
  if (device.library.description.cublasLt === null) return false;
  if (kind === "fp8" && Number(device.description.isa.slice(3)) < 89) return false;
  return M % 16 === 0 || kind === "bf16" || kind === "fp16";
}

for (const kind of KINDS) {
  const { operands, result } = PEER_KINDS[kind];

  // Sums of -1, 0 and 1 stay where every format holds all integers, so that results are exact whatever the order of the sums.
  cudaTest(
    `peerGemm() of ${kind} is exact by every algorithm when sums are small`,
    (device, random) => {
      for (const shape of SHAPES) {
        const { M, N, K } = shape;
        const most = kind === "int8" ? 127 : 1;
        const a = random.int8s(M * K, -most, most), b = random.int8s(N * K, -most, most);
        const expected = product(a, b, shape);
        const count = countPeerAlgorithms(device, { kind, ...shape });
        const name = `${kind} of ${M} x ${N} x ${K}`;
        assert(count > 0 || !mustHave(device, kind, shape), `no algorithm for ${name}`);
        for (let algorithm = 0; algorithm < count; algorithm++) {
          using memory = new GuardedMemory(device);
          const inputs = {
            a: memory.output("a", operands, [M, K]),
            b: memory.output("b", operands, [N, K]),
          };
          inputs.a.upload(encode(kind, a));
          inputs.b.upload(encode(kind, b));
          const c = memory.output("c", result, [M, N]);
          peerGemm({ kind, algorithm, ...inputs, c });
          memory.check();
          assertSame({
            name: `${name}, algorithm ${algorithm}`,
            actual: decode(kind, c),
            expected,
            shape: [M, N],
          });
        }
      }
    },
  );

  Deno.test(`countPeerAlgorithms() of ${kind} is 0 on the CPU, where peerGemm() throws`, () => {
    using device = openCpu();
    assertEquals(countPeerAlgorithms(device, { kind, M: 16, N: 16, K: 16 }), 0);
    using memory = new GuardedMemory(device);
    const [a, b] = [memory.output("a", operands, [16, 16]), memory.output("b", operands, [16, 16])];
    const c = memory.output("c", result, [16, 16]);
    const error = assertThrows(() => peerGemm({ kind, a, b, c }), NativeError, "NVIDIA card");
    assertEquals(error.status, "unsupported");
    memory.check();
  });
}

Deno.test("peerGemm() throws naming the operand when shapes or dtypes do not fit", () => {
  using device = openCpu();
  using memory = new GuardedMemory(device);
  const a = memory.output("a", "int8", [2, 16]), b = memory.output("b", "int8", [3, 16]);
  const c = memory.output("c", "int32", [2, 4]);
  assertThrows(() => peerGemm({ kind: "int8", a, b, c }), RangeError, "c must have shape (2,3)");
  assertThrows(() => peerGemm({ kind: "fp8", a, b, c }), TypeError, "a must be uint8");
});

cudaTest("peerGemm() throws when an operand is not aligned to 256 bytes", (device) => {
  using memory = new GuardedMemory(device);
  const values = memory.output("values", "bfloat16", [3 * 256 + 32]);
  const [a, b, c] = [0, 256, 512 + 32].map((offset) => values.view([16, 16], { offset }));
  assertThrows(
    () => peerGemm({ kind: "bf16", a: a!, b: b!, c: c! }),
    NativeError,
    "must be aligned to 256 bytes",
  );
});

cudaTest("peerGemm() throws when an algorithm is not among those offered", (device, random) => {
  const count = countPeerAlgorithms(device, { kind: "bf16", M: 16, N: 16, K: 16 });
  if (count === 0) return;
  using memory = new GuardedMemory(device);
  const bits = () => toBfloat16(random.normals(256));
  const operands = {
    a: memory.input("a", [16, 16], bits()),
    b: memory.input("b", [16, 16], bits()),
  };
  const c = memory.output("c", "bfloat16", [16, 16]);
  for (const algorithm of [-1, count]) {
    assertThrows(
      () => peerGemm({ kind: "bf16", algorithm, ...operands, c }),
      NativeError,
      `current value is ${algorithm}`,
    );
  }
});
