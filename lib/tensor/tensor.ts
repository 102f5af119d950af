/**
 * Device memory with a shape.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { BYTES, type DType } from "./dtype.ts";

/** What a tensor's memory belongs to: an arena, or an allocation of its own. */
export interface Storage {
  /** The device; throws where the memory was only planned. */
  readonly device: Device;
  /** First byte; throws where the memory was only planned. */
  readonly address: bigint;
}

/** A dense, row-major tensor in device memory. It does not own the memory: its {@linkcode Storage} does. */
export class Tensor {
  /** For error messages, such as `layers.3.attention.q`. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly length: number;
  readonly #storage: Storage;
  readonly #byteOffset: number;
  #address: bigint | null = null;

  constructor(
    storage: Storage,
    options: { name: string; dtype: DType; shape: readonly number[]; byteOffset?: number },
  ) {
    this.#storage = storage;
    this.#byteOffset = options.byteOffset ?? 0;
    this.name = options.name;
    this.dtype = options.dtype;
    this.shape = options.shape;
    this.length = options.shape.reduce((product, size) => product * size, 1);
  }

  /** Bytes of all elements. */
  get bytes(): number {
    return this.length * BYTES[this.dtype];
  }

  get device(): Device {
    return this.#storage.device;
  }

  /** Where the first element is. */
  get address(): bigint {
    return this.#address ??= this.#storage.address + BigInt(this.#byteOffset);
  }

  /**
   * The same memory, from `offset` elements on, under another shape. Throws `RangeError` where that is no shape or lies outside the
   * tensor.
   */
  view(shape: readonly number[], options: { offset?: number; name?: string } = {}): Tensor {
    const offset = options.offset ?? 0;
    const length = shape.reduce((product, size) => product * size, 1);
    const isCount = (value: number) => Number.isInteger(value) && value >= 0;
    if (!shape.every(isCount) || !isCount(offset) || offset + length > this.length) {
      throw new RangeError(
        `Cannot view ${this.name} (${this.shape}) as (${shape}) from element ${offset} as it has ${this.length} elements`,
      );
    }
    return new Tensor(this.#storage, {
      name: options.name ?? this.name,
      dtype: this.dtype,
      shape,
      byteOffset: this.#byteOffset + offset * BYTES[this.dtype],
    });
  }

  /** Rows `from` to `to` (exclusive) of the first dimension. Throws as {@linkcode Tensor.view}. */
  rows(from: number, to: number, name?: string): Tensor {
    const [, ...rest] = this.shape;
    const width = rest.reduce((product, size) => product * size, 1);
    return this.view([to - from, ...rest], {
      offset: from * width,
      ...(name !== undefined && { name }),
    });
  }

  /** Copies host values in; their byte length must be the tensor's. */
  upload(values: ArrayBufferView<ArrayBuffer>): void {
    this.#checkBytes(values.byteLength);
    this.device.upload(this.address, values);
  }

  /** Copies the values out into a host array of the same byte length. */
  download<A extends ArrayBufferView<ArrayBuffer>>(values: A): A {
    this.#checkBytes(values.byteLength);
    this.device.download(values, this.address);
    return values;
  }

  /** Copies another tensor of the same dtype and number of elements in, on the device. */
  copyFrom(other: Tensor): void {
    if (other.dtype !== this.dtype || other.length !== this.length) {
      throw new RangeError(
        `Cannot copy ${other.name} (${other.shape}) ${other.dtype} to ${this.name} (${this.shape}) ${this.dtype} as both must have the same dtype and number of elements`,
      );
    }
    this.device.copy(this.address, other.address, this.bytes);
  }

  /** The values of a float32 tensor, copied to the host. */
  toFloat32Array(): Float32Array<ArrayBuffer> {
    if (this.dtype !== "float32") {
      throw new TypeError(
        `Cannot read ${this.name} as float32 values: current dtype is ${this.dtype}`,
      );
    }
    return this.download(new Float32Array(this.length));
  }

  /** Sets every byte to 0. */
  zero(): void {
    this.device.fill(this.address, 0, this.bytes);
  }

  #checkBytes(bytes: number): void {
    if (bytes !== this.bytes) {
      throw new RangeError(
        `Cannot copy ${bytes} bytes to or from ${this.name} (${this.shape}) ${this.dtype} as it has ${this.bytes} bytes`,
      );
    }
  }
}

/** Throws `RangeError` unless a tensor has this shape, and `TypeError` unless it has this dtype. */
export function expectTensor(
  tensor: Tensor,
  expected: { op: string; dtype?: DType; shape?: readonly number[] },
): void {
  if (expected.dtype !== undefined && tensor.dtype !== expected.dtype) {
    throw new TypeError(
      `Cannot run ${expected.op} as ${tensor.name} must be ${expected.dtype}: current dtype is ${tensor.dtype}`,
    );
  }
  const shape = expected.shape;
  if (shape === undefined) return;
  if (
    shape.length !== tensor.shape.length || shape.some((size, axis) => size !== tensor.shape[axis])
  ) {
    throw new RangeError(
      `Cannot run ${expected.op} as ${tensor.name} must have shape (${shape}): current shape is (${tensor.shape})`,
    );
  }
}
