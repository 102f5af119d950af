/** Device memory for tests: every tensor stands between sentinels, outputs start as NaN, inputs must stay as they were. */

import { AssertionError } from "@std/assert";
import type { Device } from "../../lib/ffi/device.ts";
import { BYTES, type DType } from "../../lib/tensor/dtype.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { fromBfloat16 } from "./bfloat16.ts";

/** Values by their dtype; a Uint16Array holds the bits of bfloat16 (bfloat16.ts). */
export type HostArray =
  | Float32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>;

const GUARD_BYTES = 256; // keeps the 64-byte alignment
const GUARD = 0xa5;
const POISON: Record<DType, number> = {
  float32: 0xff, // NaN
  bfloat16: 0xff,
  float16: 0xff,
  int8: 0xa7,
  uint8: 0xa7,
  int32: 0xa7,
  int64: 0xa7,
};

interface Block {
  tensor: Tensor;
  address: bigint;
  /** Bytes of an input as given; null for outputs. */
  input: Uint8Array<ArrayBuffer> | null;
}

/** Tensors of one test. `check()` looks at every sentinel and input; disposal frees all. */
export class GuardedMemory implements Disposable {
  readonly device: Device;
  readonly #blocks: Block[] = [];

  constructor(device: Device) {
    this.device = device;
  }

  /** A tensor that holds `values` and that no op may change. */
  input(name: string, shape: readonly number[], values: HostArray): Tensor {
    const tensor = this.#add(name, dtypeOf(values), shape);
    tensor.upload(values);
    this.#blocks.at(-1)!.input = new Uint8Array(
      values.buffer.slice(values.byteOffset, values.byteOffset + values.byteLength),
    );
    return tensor;
  }

  /** A tensor that holds `values` and that an op changes. */
  inout(name: string, shape: readonly number[], values: HostArray): Tensor {
    const tensor = this.#add(name, dtypeOf(values), shape);
    tensor.upload(values);
    return tensor;
  }

  /** A tensor full of NaN (integers: of an odd value). */
  output(name: string, dtype: DType, shape: readonly number[]): Tensor {
    const tensor = this.#add(name, dtype, shape);
    this.device.fill(tensor.address, POISON[dtype], tensor.bytes);
    return tensor;
  }

  /** Throws where an op wrote outside its tensors or into an input. */
  check(): void {
    for (const { tensor, address, input } of this.#blocks) {
      const bytes = new Uint8Array(tensor.bytes + 2 * GUARD_BYTES);
      this.device.download(bytes, address);
      for (let i = 0; i < bytes.length; i++) {
        const at = i - GUARD_BYTES;
        if (at >= 0 && at < tensor.bytes) {
          if (input !== null && bytes[i] !== input[at]) {
            throw new AssertionError(`byte ${at} of the input ${tensor.name} was changed`);
          }
        } else if (bytes[i] !== GUARD) {
          throw new AssertionError(
            `byte ${at} of ${tensor.name} was written, which has ${tensor.bytes} bytes`,
          );
        }
      }
    }
  }

  [Symbol.dispose](): void {
    for (const { address } of this.#blocks) this.device.free(address);
    this.#blocks.length = 0;
  }

  #add(name: string, dtype: DType, shape: readonly number[]): Tensor {
    const bytes = shape.reduce((product, size) => product * size, 1) * BYTES[dtype];
    const address = this.device.alloc(bytes + 2 * GUARD_BYTES);
    this.device.fill(address, GUARD, bytes + 2 * GUARD_BYTES);
    const storage = { device: this.device, address };
    const tensor = new Tensor(storage, { name, dtype, shape, byteOffset: GUARD_BYTES });
    this.#blocks.push({ tensor, address, input: null });
    return tensor;
  }
}

/** The values of a float32 or bfloat16 tensor. */
export function floatsOf(tensor: Tensor): Float32Array<ArrayBuffer> {
  if (tensor.dtype === "float32") return tensor.toFloat32Array();
  return fromBfloat16(tensor.download(new Uint16Array(tensor.length)));
}

/** The values of an int8 tensor. */
export function int8sOf(tensor: Tensor): Int8Array<ArrayBuffer> {
  return tensor.download(new Int8Array(tensor.length));
}

/** The values of an int32 tensor. */
export function int32sOf(tensor: Tensor): Int32Array<ArrayBuffer> {
  return tensor.download(new Int32Array(tensor.length));
}

/** The values of an int64 tensor. */
export function int64sOf(tensor: Tensor): number[] {
  return Array.from(tensor.download(new BigInt64Array(tensor.length)), Number);
}

function dtypeOf(values: HostArray): DType {
  if (values instanceof Float32Array) return "float32";
  if (values instanceof Uint16Array) return "bfloat16";
  if (values instanceof Uint8Array) return "uint8";
  return values instanceof Int8Array ? "int8" : "int32";
}
