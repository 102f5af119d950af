/**
 * Memory that is planned whole before it is taken.
 *
 * Tensors are laid out first, by name and shape; {@linkcode Arena.commit} then takes one block of device memory for all of
 * them. Planning needs no device, so the same plan tells how much memory a run will take before anything runs.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { BYTES, type DType } from "./dtype.ts";
import { type Storage, Tensor } from "./tensor.ts";

const ALIGNMENT = 64; // bytes: a cache line, and the widest vector

/** One block of device memory, planned tensor by tensor. */
export class Arena implements Storage, Disposable {
  /** For error messages: what the arena holds. */
  readonly name: string;
  #bytes = 0;
  #peak = 0;
  #device: Device | null = null;
  #address: bigint | null = null;

  constructor(name: string) {
    this.name = name;
  }

  /** Bytes that {@linkcode Arena.commit} takes or took. */
  get bytes(): number {
    return this.#peak;
  }

  get device(): Device {
    if (this.#device === null) throw this.#uncommitted();
    return this.#device;
  }

  get address(): bigint {
    if (this.#address === null) throw this.#uncommitted();
    return this.#address;
  }

  /** Lays a tensor out behind the ones before it. */
  tensor(name: string, dtype: DType, shape: readonly number[]): Tensor {
    if (this.#address !== null) {
      throw new Error(`Cannot plan ${name} as the memory of ${this.name} is already taken`);
    }
    const byteOffset = this.#bytes;
    const tensor = new Tensor(this, { name, dtype, shape, byteOffset });
    this.#bytes += Math.ceil((tensor.length * BYTES[dtype]) / ALIGNMENT) * ALIGNMENT;
    this.#peak = Math.max(this.#peak, this.#bytes);
    return tensor;
  }

  /**
   * Runs `plan`, then lets what comes after share the memory that it laid out: for tensors whose lives do not overlap.
   */
  scope<Result>(plan: () => Result): Result {
    const start = this.#bytes;
    try {
      return plan();
    } finally {
      this.#bytes = start;
    }
  }

  /** Sets every byte of every tensor to 0, in one fill. */
  zero(): void {
    this.device.fill(this.address, 0, this.#peak);
  }

  /** Takes the memory, filled with zeros. Throws `NativeError` (out of memory) where the device has less. */
  commit(device: Device): this {
    if (this.#address !== null) {
      throw new Error(
        `Cannot take the memory of ${this.name} as it is already taken: commit it once, or plan another arena`,
      );
    }
    this.#address = device.alloc(this.#peak);
    this.#device = device;
    device.fill(this.#address, 0, this.#peak);
    return this;
  }

  [Symbol.dispose](): void {
    if (this.#address === null || this.#device === null) return;
    this.#device.free(this.#address);
    this.#address = null;
    this.#device = null;
  }

  #uncommitted(): Error {
    return new Error(
      `Cannot use ${this.name} as its memory is planned, not taken: commit it first`,
    );
  }
}
