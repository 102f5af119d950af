/**
 * TFLOP/s of attention on the card, of causal FLOPs: two products with half a T x T matrix forward, five backward, however many
 * a kernel computes; and GB/s of the cache that decoding reads. Training is measured with the kernels that the card gets, and
 * beside them with TITANBIT_NO_WGMMA=1.
 *
 *     deno run -A tests/kernels/attention/cuda_bench.ts
 */

import { DeviceEvent } from "../../../lib/ffi/event.ts";
import { Device } from "../../../lib/ffi/device.ts";
import {
  attentionBackward,
  attentionDecode,
  attentionForward,
} from "../../../lib/kernels/attention.ts";
import { Tensor } from "../../../lib/tensor/tensor.ts";
import { BYTES, type DType } from "../../../lib/tensor/dtype.ts";
import { toBfloat16 } from "../../support/bfloat16.ts";
import { Random } from "../../support/random.ts";

const TRAINING = [
  [32, 12, 2048, 64],
  [16, 32, 2048, 64],
  [16, 24, 2048, 64],
  [2, 32, 8192, 64],
  [4, 32, 2048, 100],
  [4, 32, 2048, 128],
] as const;
const DECODING = [[1, 32, 4096, 64], [16, 32, 4096, 64], [16, 32, 4096, 100]] as const;
const NOISE = toBfloat16(new Random(1).normals(1 << 20));

class Memory implements Disposable {
  readonly #addresses: bigint[] = [];
  constructor(readonly device: Device) {}

  tensor(name: string, dtype: DType, shape: readonly number[]): Tensor {
    const bytes = shape.reduce((product, size) => product * size, 1) * BYTES[dtype];
    const address = this.device.alloc(bytes);
    this.#addresses.push(address);
    return new Tensor({ device: this.device, address }, { name, dtype, shape });
  }

  /** A tensor of bfloat16 normal numbers, a million of them over and over. */
  normals(name: string, shape: readonly number[]): Tensor {
    const tensor = this.tensor(name, "bfloat16", shape);
    for (let at = 0; at < tensor.length; at += NOISE.length) {
      const count = Math.min(NOISE.length, tensor.length - at);
      tensor.view([count], { offset: at }).upload(NOISE.subarray(0, count));
    }
    return tensor;
  }

  [Symbol.dispose](): void {
    for (const address of this.#addresses) this.device.free(address);
  }
}

/** Median milliseconds of one call, of 15 samples of `calls` calls. */
function measure(device: Device, body: () => void, calls: number): number {
  using from = new DeviceEvent(device);
  using to = new DeviceEvent(device);
  const samples: number[] = [];
  for (let sample = -3; sample < 15; sample++) {
    from.record();
    for (let call = 0; call < calls; call++) body();
    to.record();
    device.synchronize();
    if (sample >= 0) samples.push(to.millisecondsSince(from) / calls);
  }
  return samples.sort((a, b) => a - b)[7]!;
}

/** Milliseconds and TFLOP/s of both passes. */
function measureTraining(device: Device, [B, H, T, E]: typeof TRAINING[number]) {
  using memory = new Memory(device);
  const heads = [B, H, T, E], rows = [B * T, H * E];
  const [q, k, v] = ["q", "k", "v"].map((name) => memory.normals(name, heads)) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const [dq, dk, dv] = ["dq", "dk", "dv"].map((name) => memory.tensor(name, "bfloat16", heads)) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const dout = memory.normals("dout", rows);
  const o = memory.tensor("o", "bfloat16", rows);
  const lse = memory.tensor("lse", "float32", [B, H, T]);
  const delta = memory.tensor("delta", "float32", [B, H, T]);
  const scale = E ** -0.5;
  const forwardMs = measure(device, () => attentionForward({ q, k, v, o, lse, scale }), 3);
  const backwardMs = measure(
    device,
    () => attentionBackward({ dout, q, k, v, o, lse, delta, dq, dk, dv, scale }),
    2,
  );
  const flops = 2 * B * H * T * T * E;
  return {
    forward_ms: Number(forwardMs.toFixed(3)),
    forward_tflops: Math.round(flops / forwardMs / 1e9),
    backward_ms: Number(backwardMs.toFixed(3)),
    backward_tflops: Math.round(2.5 * flops / backwardMs / 1e9),
  };
}

/** A second context of the card, whose kernels are those of cards without wgmma. */
function openWithoutWgmma(): Device {
  const before = Deno.env.get("TITANBIT_NO_WGMMA");
  Deno.env.set("TITANBIT_NO_WGMMA", "1");
  try {
    return Device.open({ kind: "cuda" });
  } finally {
    if (before === undefined) Deno.env.delete("TITANBIT_NO_WGMMA");
    else Deno.env.set("TITANBIT_NO_WGMMA", before);
  }
}

function main(): void {
  using device = Device.open({ kind: "cuda" });
  using plain = openWithoutWgmma();
  console.log(device.description.name);
  for (const shape of TRAINING) {
    const [B, H, T, E] = shape;
    for (const [kernels, on] of [["as chosen", device], ["no wgmma", plain]] as const) {
      console.log(JSON.stringify({ B, H, T, E, kernels, ...measureTraining(on, shape) }));
    }
  }
  for (const [B, H, capacity, E] of DECODING) {
    using memory = new Memory(device);
    const kCache = memory.normals("k_cache", [B, H, capacity, E]);
    const vCache = memory.normals("v_cache", [B, H, capacity, E]);
    const q = memory.normals("q", [B, H, 1, E]);
    const o = memory.tensor("o", "bfloat16", [B, H * E]);
    const start = memory.tensor("start", "int32", [B]);
    start.upload(new Int32Array(B).fill(capacity - 1));
    const scale = E ** -0.5;
    const ms = measure(
      device,
      () => attentionDecode({ q, kCache, vCache, start, o, scale }),
      20,
    );
    const bytes = kCache.bytes + vCache.bytes;
    console.log(JSON.stringify({
      B,
      H,
      capacity,
      E,
      decode_us: Number((1e3 * ms).toFixed(1)),
      gb_per_s: Math.round(bytes / ms / 1e6),
    }));
  }
}

if (import.meta.main) main();
