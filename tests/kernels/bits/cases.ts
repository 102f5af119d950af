/**
 * One run of every op on fixed inputs, for the hashes of op_bits.json.
 *
 * Inputs are dyadic fractions of an integer generator: no function of the run time rounds on their way.
 */

import type { Device } from "../../../lib/ffi/device.ts";
import { adamw, ADAMW_BLOCK, adamwBegin } from "../../../lib/kernels/adamw.ts";
import {
  attentionBackward,
  attentionDecode,
  attentionForward,
  ropeAttentionDecode,
} from "../../../lib/kernels/attention.ts";
import { cast } from "../../../lib/kernels/cast.ts";
import { crossEntropy } from "../../../lib/kernels/cross_entropy.ts";
import { embeddingBackward, embeddingForward } from "../../../lib/kernels/embedding.ts";
import { gemm } from "../../../lib/kernels/gemm.ts";
import { gemmInt8 } from "../../../lib/kernels/gemm_int8.ts";
import {
  gemmTernaryBackwardInput,
  gemmTernaryBackwardWeight,
  gemmTernaryForward,
  gemmTernaryPackedForward,
} from "../../../lib/kernels/gemm_ternary.ts";
import { gluNormBackward, gluNormForward } from "../../../lib/kernels/glu_norm.ts";
import { headLoss, headLossBytes } from "../../../lib/kernels/head_loss.ts";
import { packedWidth, packTernary, unpackTernary } from "../../../lib/kernels/pack_ternary.ts";
import { quantizeWeight } from "../../../lib/kernels/quantize_weight.ts";
import { randomNormal } from "../../../lib/kernels/random.ts";
import { norm, sum } from "../../../lib/kernels/reduce.ts";
import { rmsnormBackward, rmsnormForward } from "../../../lib/kernels/rmsnorm.ts";
import { ropeBackward, ropeForward } from "../../../lib/kernels/rope.ts";
import { quantizedStatistics, ternaryStatistics } from "../../../lib/kernels/statistics.ts";
import { topK } from "../../../lib/kernels/top_k.ts";
import type { DType } from "../../../lib/tensor/dtype.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { toBfloat16 } from "../../support/bfloat16.ts";
import { Random } from "../../support/random.ts";
import { GuardedMemory, type HostArray } from "../../support/sentinel.ts";

/** Operands of one case, by the order in which they are made. */
class Operands {
  readonly #memory: GuardedMemory;
  readonly #random = new Random(1);
  /** Tensors that the op writes. */
  readonly outputs: Tensor[] = [];

  constructor(memory: GuardedMemory) {
    this.#memory = memory;
  }

  /** float32 from -2 to 2 in steps of 2^-22. */
  floats(shape: readonly number[]): Tensor {
    return this.#input(shape, this.#fractions(shape));
  }

  /** bfloat16 from -2 to 2. */
  halves(shape: readonly number[]): Tensor {
    return this.#input(shape, toBfloat16(this.#fractions(shape)));
  }

  /** float32 from 2^-12 to 1. */
  scales(shape: readonly number[]): Tensor {
    return this.#input(
      shape,
      Float32Array.from(
        { length: count(shape) },
        () => ((this.#random.word() >>> 20) + 1) / 4096,
      ),
    );
  }

  bytes(shape: readonly number[], low = -127, high = 127): Tensor {
    return this.#input(shape, this.#random.int8s(count(shape), low, high));
  }

  integers(shape: readonly number[], low: number, high: number): Tensor {
    return this.#input(shape, this.#random.int32s(count(shape), low, high));
  }

  given(shape: readonly number[], values: HostArray): Tensor {
    return this.#input(shape, values);
  }

  /** An output that the op overwrites. */
  out(dtype: DType, shape: readonly number[]): Tensor {
    return this.#output(this.#memory.output(`output ${this.outputs.length}`, dtype, shape));
  }

  /** An output of zeros, or of the values given, that the op adds to. */
  sum(shape: readonly number[], values: HostArray = this.#fractions(shape)): Tensor {
    return this.#output(this.#memory.inout(`output ${this.outputs.length}`, shape, values));
  }

  #fractions(shape: readonly number[]): Float32Array<ArrayBuffer> {
    return Float32Array.from(
      { length: count(shape) },
      () => (this.#random.word() >>> 8) / 2 ** 22 - 2,
    );
  }

  #input(shape: readonly number[], values: HostArray): Tensor {
    return this.#memory.input("input", shape, values);
  }

  #output(tensor: Tensor): Tensor {
    this.outputs.push(tensor);
    return tensor;
  }
}

/** A run of one or more ops. */
interface Case {
  /** Functions of titanbit.h that it calls. */
  ops: readonly string[];
  run(make: Operands): void;
}

const EPS = 1e-5;
const QUANTIZERS = ["absmax", "absmean"] as const;
const ACTIVATIONS = ["silu", "relu2"] as const;
const [B, T, H, G, E, CAPACITY] = [2, 70, 4, 2, 20, 600];

/** Every case by its name. Shapes leave a part of a vector and of a tile over. */
export const CASES: Record<string, Case> = {
  random: {
    ops: ["tb_random_normal"],
    run: (make) =>
      randomNormal({ to: make.out("float32", [9999]), std: 0.02, seed: 7n, stream: 3n }),
  },
  cast: {
    ops: ["tb_cast"],
    run: (make) => cast({ from: make.floats([3, 999]), to: make.out("bfloat16", [3, 999]) }),
  },
  embedding: {
    ops: ["tb_embedding_forward", "tb_embedding_backward"],
    run: (make) => {
      const ids = make.integers([40], 0, 11);
      embeddingForward({ ids, table: make.floats([12, 33]), out: make.out("float32", [40, 33]) });
      embeddingBackward({ ids, dout: make.floats([40, 33]), dtable: make.sum([12, 33]) });
    },
  },
  ...Object.fromEntries(
    QUANTIZERS.map((quantizer) => [`rmsnorm ${quantizer}`, rmsnormCase(quantizer)]),
  ),
  ...Object.fromEntries(
    ACTIVATIONS.flatMap((act) =>
      QUANTIZERS.map((quantizer) => [`glu_norm ${act} ${quantizer}`, gluCase(act, quantizer)])
    ),
  ),
  quantize_weight: {
    ops: ["tb_quantize_weight"],
    run: (make) =>
      quantizeWeight({
        w: make.floats([70, 333]),
        q: make.out("int8", [70, 333]),
        scale: make.out("float32", [70]),
      }),
  },
  pack_ternary: {
    ops: ["tb_pack_ternary", "tb_unpack_ternary"],
    run: (make) => {
      const packed = make.out("int32", [5, packedWidth(77)]);
      packTernary({ q: make.bytes([5, 77], -1, 1), packed });
      unpackTernary({ packed, q: make.out("int8", [5, 77]) });
    },
  },
  ...Object.fromEntries([1, 3, 8, 50].map((M) => [`gemm_ternary ${M} rows`, ternaryCase(M)])),
  gemm_ternary_backward: {
    ops: ["tb_gemm_ternary_backward_input", "tb_gemm_ternary_backward_weight"],
    run: (make) => {
      const [M, N, K] = [37, 45, 301];
      const dy = make.floats([M, N]);
      const w = make.bytes([N, K], -1, 1);
      const wScale = make.scales([N]);
      gemmTernaryBackwardInput({ dy, w, wScale, dx: make.out("float32", [M, K]) });
      gemmTernaryBackwardInput({ dy, w, wScale, dx: make.sum([M, K]), accumulate: true });
      gemmTernaryBackwardWeight({
        dy,
        x: make.bytes([M, K]),
        xScale: make.scales([M]),
        dw: make.sum([N, K]),
        accumulate: true,
      });
    },
  },
  gemm: {
    ops: ["tb_gemm"],
    run: (make) => {
      const [N, K] = [45, 301];
      for (const M of [1, 5, 37]) {
        const c = () => make.out("float32", [M, N]);
        const [a, b] = [make.floats([M, K]), make.floats([N, K])];
        gemm({ a, b, c: c(), transposeB: true });
        gemm({ a, b, c: c(), transposeB: true, residual: make.floats([M, N]) });
        gemm({ a, b: make.floats([K, N]), c: c() });
        gemm({ a: make.floats([K, M]), b: make.floats([K, N]), c: c(), transposeA: true });
      }
    },
  },
  gemm_int8: {
    ops: ["tb_gemm_int8"],
    run: (make) => {
      const [N, K] = [45, 301];
      const w = make.bytes([N, K]);
      const wScale = make.scales([N]);
      for (const M of [1, 3, 8]) {
        gemmInt8({ x: make.floats([M, K]), w, wScale, y: make.out("float32", [M, N]) });
      }
    },
  },
  rope: {
    ops: ["tb_rope_forward", "tb_rope_backward"],
    run: (make) => {
      const cosSin = make.floats([CAPACITY, E]);
      const dqkv = make.out("float32", [B * T, (H + 2 * G) * E]);
      ropeForward({
        qkv: make.floats([B * T, (H + 2 * G) * E]),
        cosSin,
        q: make.out("float32", [B, H, T, E]),
        k: make.out("float32", [B, G, T, E]),
        v: make.out("float32", [B, G, T, E]),
      });
      ropeBackward({
        dq: make.floats([B, H, T, E]),
        dk: make.floats([B, G, T, E]),
        dv: make.floats([B, G, T, E]),
        cosSin,
        dqkv,
      });
    },
  },
  attention: {
    ops: ["tb_attention_forward", "tb_attention_backward"],
    run: (make) => {
      for (const width of [E, 32]) {
        const q = make.floats([B, H, T, width]);
        const k = make.floats([B, G, T, width]);
        const v = make.floats([B, G, T, width]);
        const o = make.out("float32", [B * T, H * width]);
        const lse = make.out("float32", [B, H, T]);
        attentionForward({ q, k, v, o, lse, scale: 0.25 });
        attentionBackward({
          dout: make.floats([B * T, H * width]),
          q,
          k,
          v,
          o,
          lse,
          delta: make.out("float32", [B, H, T]),
          dq: make.out("float32", [B, H, T, width]),
          dk: make.out("float32", [B, G, T, width]),
          dv: make.out("float32", [B, G, T, width]),
          scale: 0.25,
        });
      }
    },
  },
  ...Object.fromEntries(
    (["float32", "bfloat16", "int8"] as const).map((dtype) => [
      `attention_decode ${dtype}`,
      decodeCase(dtype),
    ]),
  ),
  rope_attention_decode: {
    ops: ["tb_rope_attention_decode"],
    run: (make) => {
      const k = make.sum([B, G, CAPACITY, E]);
      const v = make.sum([B, G, CAPACITY, E]);
      ropeAttentionDecode({
        qkv: make.floats([B, (H + 2 * G) * E]),
        cosSin: make.floats([CAPACITY, E]),
        start: make.given([B], Int32Array.of(3, 530)),
        q: make.out("float32", [B, H, 1, E]),
        kCache: k,
        vCache: v,
        o: make.out("float32", [B, H * E]),
        scale: 0.25,
      });
    },
  },
  head_loss: {
    ops: ["tb_head_loss"],
    run: (make) => {
      const [N, D, V] = [23, 37, 301];
      headLoss({
        x: make.floats([N, D]),
        head: make.floats([V, D]),
        targets: make.integers([N], -1, V - 1),
        loss: make.out("float32", [N]),
        dx: make.out("float32", [N, D]),
        dhead: make.sum([V, D]),
        gradScale: 0.125,
        workspace: make.out("uint8", [headLossBytes(V, "float32")]),
      });
      make.outputs.pop(); // what the workspace holds afterwards is nobody's
    },
  },
  cross_entropy: {
    ops: ["tb_cross_entropy"],
    run: (make) => {
      const [N, V] = [7, 301];
      const [logits, targets] = [make.floats([N, V]), make.integers([N], -1, V - 1)];
      const out = () => ({
        loss: make.out("float32", [N]),
        dlogits: make.out("float32", [N, V]),
        gradScale: 0.125,
      });
      crossEntropy({ logits, targets, ...out() });
      crossEntropy({ logits, targets, ...out(), smoothing: 0.125 });
      const teacher = make.floats([N, V]);
      crossEntropy({ logits, targets, ...out(), smoothing: 0.125, teacher, teacherWeight: 0.25 });
    },
  },
  top_k: {
    ops: ["tb_top_k"],
    run: (make) =>
      topK({
        logits: make.floats([3, 501]),
        values: make.out("float32", [3, 40]),
        ids: make.out("int32", [3, 40]),
      }),
  },
  reduce: {
    ops: ["tb_sum", "tb_norm"],
    run: (make) => {
      sum({ x: make.floats([40001]), out: make.out("float32", [1]), scale: 0.5 });
      norm({ x: make.floats([40001]), out: make.out("float32", [1]) });
      norm({ x: make.halves([40001]), out: make.out("float32", [1]) });
    },
  },
  statistics: {
    ops: ["tb_ternary_statistics", "tb_quantized_statistics"],
    run: (make) => {
      ternaryStatistics({
        w: make.floats([30, 77]),
        q: make.bytes([30, 77], -1, 1),
        previous: make.bytes([30, 77], -1, 1),
        scale: make.given([30], new Float32Array(30).fill(0.75)),
        margin: 0.05,
        counts: make.out("int64", [5]),
      });
      quantizedStatistics({
        q: make.bytes([30, 77]),
        scale: make.scales([30]),
        quantizer: "absmax",
        counts: make.out("int64", [2]),
        scales: make.out("float32", [2]),
      });
    },
  },
  ...Object.fromEntries(
    (["float32", "bfloat16", "uint8"] as const).map((
      dtype,
    ) => [`adamw ${dtype}`, adamwCase(dtype)]),
  ),
};

function rmsnormCase(quantizer: typeof QUANTIZERS[number]): Case {
  const [N, D] = [19, 333];
  return {
    ops: ["tb_rmsnorm_forward", "tb_rmsnorm_backward"],
    run: (make) => {
      const x = make.floats([N, D]);
      const weight = make.floats([D]);
      const rstd = make.out("float32", [N]);
      const [q, scale, y] = [
        make.out("int8", [N, D]),
        make.out("float32", [N]),
        make.out("float32", [N, D]),
      ];
      rmsnormForward({ x, weight, eps: EPS, quantizer, q, scale, y, rstd });
      const dweight = make.sum([D]);
      const dy = make.floats([N, D]);
      rmsnormBackward({ dy, x, weight, rstd, dx: make.out("float32", [N, D]), dweight });
      rmsnormBackward({ dy, x, weight, rstd, dx: make.sum([N, D]), dweight, accumulate: true });
    },
  };
}

function gluCase(act: typeof ACTIVATIONS[number], quantizer: typeof QUANTIZERS[number]): Case {
  const [N, F] = [19, 333];
  return {
    ops: ["tb_glu_norm_forward", "tb_glu_norm_backward"],
    run: (make) => {
      const gateUp = make.floats([N, 2 * F]);
      const weight = make.floats([F]);
      const rstd = make.out("float32", [N]);
      const [q, scale, y] = [
        make.out("int8", [N, F]),
        make.out("float32", [N]),
        make.out("float32", [N, F]),
      ];
      gluNormForward({ gateUp, act, weight, eps: EPS, quantizer, q, scale, y, rstd });
      gluNormBackward({
        dy: make.floats([N, F]),
        gateUp,
        act,
        weight,
        rstd,
        dgateUp: make.out("float32", [N, 2 * F]),
        dweight: make.sum([F]),
      });
    },
  };
}

function ternaryCase(M: number): Case {
  const [N, K] = [45, 333];
  return {
    ops: ["tb_gemm_ternary_forward", "tb_gemm_ternary_packed_forward", "tb_pack_ternary"],
    run: (make) => {
      const w = make.bytes([N, K], -1, 1);
      const packed = make.out("int32", [N, packedWidth(K)]);
      packTernary({ q: w, packed });
      const operands = {
        x: make.bytes([M, K], -128),
        xScale: make.scales([M]),
        wScale: make.scales([N]),
      };
      gemmTernaryForward({ ...operands, w, y: make.out("float32", [M, N]) });
      const residual = make.floats([M, N]);
      gemmTernaryPackedForward({ ...operands, packed, residual, y: make.out("float32", [M, N]) });
    },
  };
}

function decodeCase(dtype: "float32" | "bfloat16" | "int8"): Case {
  return {
    ops: ["tb_attention_decode"],
    run: (make) => {
      const shape = [B, G, CAPACITY, E];
      const cache = () =>
        dtype === "int8"
          ? make.bytes(shape)
          : dtype === "bfloat16"
          ? make.halves(shape)
          : make.floats(shape);
      const [kCache, vCache] = [cache(), cache()];
      const scales = dtype === "int8"
        ? { kScale: make.scales([B, G, CAPACITY]), vScale: make.scales([B, G, CAPACITY]) }
        : {};
      const start = make.given([B], Int32Array.of(2, 540));
      for (const tokens of [1, 3, 30]) { // one query, few, a block
        attentionDecode({
          q: make.floats([B, H, tokens, E]),
          kCache,
          vCache,
          ...scales,
          start,
          o: make.out("float32", [B * tokens, H * E]),
          scale: 0.25,
        });
      }
    },
  };
}

function adamwCase(dtype: "float32" | "bfloat16" | "uint8"): Case {
  const n = 1000;
  return {
    ops: ["tb_adamw_begin", "tb_adamw"],
    run: (make) => {
      const blocks = Math.ceil(n / ADAMW_BLOCK);
      const moment = () =>
        dtype === "float32"
          ? make.sum([n], new Float32Array(n))
          : dtype === "bfloat16"
          ? make.sum([n], new Uint16Array(n))
          : make.sum([n], new Uint8Array(n));
      const absmax = () => dtype === "uint8" ? make.sum([blocks], new Float32Array(blocks)) : null;
      const updates = make.sum([1], Int32Array.of(4));
      const hyper = make.sum(
        [1, 8],
        Float32Array.of(0.001, 0.9, 0.95, 1e-8, 0.1, 0, 0, 1),
      );
      const gradNorm = make.given([1], Float32Array.of(3));
      adamwBegin({ gradNorm, updates, hyper });
      const state = {
        w: make.sum([n]),
        m: moment(),
        v: moment(),
        mAbsmax: absmax(),
        vAbsmax: absmax(),
        hyper: hyper.view([8]),
        gradNorm,
        updates,
      };
      for (let update = 0; update < 3; update++) adamw({ ...state, g: make.floats([n]) });
      adamw({ ...state, g: make.halves([n]) });
    },
  };
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Hash of what a case's ops write: the first 64 bits of SHA-256, in hexadecimal. */
export async function hashOf(device: Device, name: string): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  {
    using memory = new GuardedMemory(device);
    const make = new Operands(memory);
    CASES[name]!.run(make);
    for (const output of make.outputs) parts.push(output.download(new Uint8Array(output.bytes)));
    memory.check();
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).subarray(0, 8).toHex();
}
