/**
 * Attention to measure: operands, the calls, and checks of some rows of the results.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { attentionBackward, attentionDecode, attentionForward } from "../kernels/attention.ts";
import { Arena } from "../tensor/arena.ts";
import { BYTES } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  exactKeyGradients,
  exactOutput,
  exactQueryGradient,
  type ExactRow,
  type RowAt,
} from "./attention_oracle.ts";
import { countSets } from "./launch_timing.ts";
import { fillPeriodic, type Periodic, periodicNormals, readNumbers } from "./periodic.ts";

/** B sequences of T tokens, H heads of width E; decoding: one query a sequence against T cached tokens. */
export interface AttentionSizes {
  readonly B: number;
  readonly H: number;
  readonly T: number;
  readonly E: number;
}

/** One op, ready to be timed. */
export interface AttentionOp {
  readonly name: "forward" | "backward" | "decode";
  /** The op over each set of operands. */
  readonly runs: readonly (() => void)[];
  /** Of causal attention: two products with half a T x T matrix forward, five backward, however many a kernel computes. */
  readonly operations: number;
  readonly bytes: number;
  /** Runs the op over the last set and looks at some rows in FP64: the largest error over the magnitude of an element's terms. */
  check(): number;
}

/** Ops over their own memory. */
export interface AttentionProblem extends Disposable {
  readonly ops: readonly AttentionOp[];
}

const SAMPLES = 4;
/** Roundings of weights and of results, over the sum of the magnitudes. */
const TOLERANCE = { float32: 2 ** -15, bfloat16: 2 ** -6 } as const;

/** Forward and backward of a training step. */
export function makeTraining(
  device: Device,
  sizes: AttentionSizes,
  { cacheBytes }: { cacheBytes: number },
): AttentionProblem {
  const { B, H, T, E } = sizes;
  const dtype = device.activationDtype, scale = E ** -0.5;
  const rowBytes = B * H * T * E * BYTES[dtype], lseBytes = 4 * B * H * T;
  const forwardBytes = 4 * rowBytes + lseBytes, backwardBytes = 8 * rowBytes + lseBytes;
  const arena = new Arena("benchmark of attention");
  const plan = (name: string, shape: number[]) => arena.tensor(name, dtype, shape);
  const sets = Array.from({ length: countSets(forwardBytes, cacheBytes) }, () => ({
    ...{ q: plan("q", [B, H, T, E]), k: plan("k", [B, H, T, E]), v: plan("v", [B, H, T, E]) },
    ...{ o: plan("o", [B * T, H * E]), dout: plan("dout", [B * T, H * E]) },
    ...{ dq: plan("dq", [B, H, T, E]), dk: plan("dk", [B, H, T, E]), dv: plan("dv", [B, H, T, E]) },
    lse: arena.tensor("lse", "float32", [B, H, T]),
    delta: arena.tensor("delta", "float32", [B, H, T]),
  }));
  arena.commit(device);
  const [q, k, v, dout] = [0, 1, 2, 3].map(() => periodicNormals(dtype)) as Four<Periodic>;
  for (const set of sets) {
    for (
      const [tensor, values] of [[set.q, q], [set.k, k], [set.v, v], [set.dout, dout]] as const
    ) {
      fillPeriodic(tensor, values);
    }
  }
  const last = sets.at(-1)!;
  const forward = (set: typeof last) => attentionForward({ ...set, scale });
  const backward = (set: typeof last) => attentionBackward({ ...set, scale });
  const headOf = (b: number, h: number) => {
    const head = (b * H + h) * T;
    const heads = (values: Periodic): RowAt => remembered((t) => rowOf(values, (head + t) * E, E));
    const rows = (t: number) => ((b * T + t) * H + h) * E;
    const lse = readNumbers(last.lse.view([T], { offset: head }));
    return {
      ...{ q: heads(q), k: heads(k), v: heads(v), scale },
      dout: remembered((t) => rowOf(dout, rows(t), E)),
      o: remembered((t) => readNumbers(last.o.view([E], { offset: rows(t) }))),
      lse: (t: number) => lse[t]!,
      gradient: (tensor: Tensor, t: number) =>
        readNumbers(tensor.view([E], { offset: (head + t) * E })),
    };
  };
  const compare = comparison(dtype, `attention of ${B} x ${H} x ${T} x ${E}`);
  const places = () =>
    Array.from({ length: SAMPLES }, (_, i) => ({
      b: below(B),
      h: below(H),
      t: i === 0 ? T - 1 : below(T),
    }));
  return {
    ops: [
      {
        name: "forward",
        runs: sets.map((set) => () => forward(set)),
        operations: 2 * B * H * T * T * E,
        bytes: forwardBytes,
        check() {
          poison(last.o, last.lse);
          forward(last);
          return Math.max(
            ...places().map(({ b, h, t }) => {
              const head = headOf(b, h);
              const exact = exactOutput(head, { q: head.q(t), seen: t + 1 });
              // Relative to the sum of exponentials.
              compare(`lse of token ${t}`, Float64Array.of(Math.exp(head.lse(t) - exact.lse)), {
                values: Float64Array.of(1),
                magnitudes: Float64Array.of(1),
              });
              return compare(`o of token ${t}`, head.o(t), exact);
            }),
          );
        },
      },
      {
        name: "backward",
        runs: sets.map((set) => () => backward(set)),
        operations: 5 * B * H * T * T * E,
        bytes: backwardBytes,
        check() {
          // Each set needs its own forward results; the checked one's were checked before.
          for (const set of sets) forward(set);
          poison(last.dq, last.dk, last.dv);
          backward(last);
          return Math.max(
            ...places().flatMap(({ b, h, t }) => {
              const head = headOf(b, h);
              const { dk, dv } = exactKeyGradients(head, { s: t, T });
              return [
                compare(
                  `dq of token ${t}`,
                  head.gradient(last.dq, t),
                  exactQueryGradient(head, t),
                ),
                compare(`dk of token ${t}`, head.gradient(last.dk, t), dk),
                compare(`dv of token ${t}`, head.gradient(last.dv, t), dv),
              ];
            }),
          );
        },
      },
    ],
    [Symbol.dispose]: () => arena[Symbol.dispose](),
  };
}

/** One new token a sequence. */
export function makeDecoding(
  device: Device,
  sizes: AttentionSizes,
  { cacheBytes }: { cacheBytes: number },
): AttentionProblem {
  const { B, H, T, E } = sizes;
  const dtype = device.activationDtype, scale = E ** -0.5;
  const bytes = (2 * T + 2) * B * H * E * BYTES[dtype];
  const arena = new Arena("benchmark of decoding attention");
  const plan = (name: string, shape: number[]) => arena.tensor(name, dtype, shape);
  const sets = Array.from({ length: countSets(bytes, cacheBytes) }, () => ({
    q: plan("q", [B, H, 1, E]),
    kCache: plan("k cache", [B, H, T, E]),
    vCache: plan("v cache", [B, H, T, E]),
    start: arena.tensor("start", "int32", [B]),
    o: plan("o", [B, H * E]),
  }));
  arena.commit(device);
  const [q, k, v] = [0, 1, 2].map(() => periodicNormals(dtype)) as Three<Periodic>;
  for (const set of sets) {
    for (const [tensor, values] of [[set.q, q], [set.kCache, k], [set.vCache, v]] as const) {
      fillPeriodic(tensor, values);
    }
    set.start.upload(new Int32Array(B).fill(T - 1));
  }
  const last = sets.at(-1)!;
  const run = (set: typeof last) => attentionDecode({ ...set, scale });
  const compare = comparison(dtype, `decoding attention of ${B} x ${H} x ${T} x ${E}`);
  return {
    ops: [{
      name: "decode",
      runs: sets.map((set) => () => run(set)),
      operations: 4 * B * H * T * E,
      bytes,
      check() {
        poison(last.o);
        run(last);
        return Math.max(...Array.from({ length: SAMPLES }, () => {
          const b = below(B), h = below(H), head = b * H + h;
          const heads = (values: Periodic): RowAt => (s) => rowOf(values, (head * T + s) * E, E);
          const exact = exactOutput({ k: heads(k), v: heads(v), scale }, {
            q: rowOf(q, head * E, E),
            seen: T,
          });
          return compare(
            `o of head ${h}`,
            readNumbers(last.o.view([E], { offset: head * E })),
            exact,
          );
        }));
      },
    }],
    [Symbol.dispose]: () => arena[Symbol.dispose](),
  };
}

type Three<T> = [T, T, T];
type Four<T> = [T, T, T, T];

/** Throws `Error` where a value is wrong; the largest error over the magnitude. */
function comparison(dtype: keyof typeof TOLERANCE, what: string) {
  return (name: string, actual: Float64Array, { values, magnitudes }: ExactRow): number => {
    let largest = 0;
    for (let e = 0; e < values.length; e++) {
      const error = Math.abs(actual[e]! - values[e]!) / magnitudes[e]!;
      if (!(error <= TOLERANCE[dtype])) {
        throw new Error(
          `${what} is wrong in value ${e} of ${name}: current value is ${actual[e]}, expected ${
            values[e]
          }`,
        );
      }
      largest = Math.max(largest, error);
    }
    return largest;
  };
}

function poison(...tensors: readonly Tensor[]): void {
  for (const tensor of tensors) tensor.device.fill(tensor.address, 0xff, tensor.bytes);
}

function rowOf({ values }: Periodic, start: number, length: number): Float64Array {
  return Float64Array.from({ length }, (_, e) => values[(start + e) % values.length]!);
}

function remembered(row: RowAt): RowAt {
  const known = new Map<number, Float64Array>();
  return (token) => {
    const found = known.get(token) ?? row(token);
    known.set(token, found);
    return found;
  };
}

function below(count: number): number {
  return Math.floor(Math.random() * count);
}
