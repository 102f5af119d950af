/**
 * Copies of a run's weights and moments in host memory.
 *
 * @module
 */

import type { TensorSink, TensorSource } from "../interop/safetensors.ts";
import { tensorBytes } from "../interop/safetensors_header.ts";
import { gib } from "./memory_plan.ts";

/** A tensor that can be copied off the device and back. */
export type CopiedTensor = TensorSource & TensorSink;

/** Share of the host's available memory that snapshots may take. */
const MEMORY_SHARE = 0.5;

/** Snapshots by step. Buffers are taken when they are first needed, and used again. */
export class SnapshotRing {
  /** Snapshots that it holds at most, besides pinned ones. */
  readonly capacity: number;
  readonly #tensors: readonly CopiedTensor[];
  readonly #copies = new Map<number, Uint8Array<ArrayBuffer>[]>();
  readonly #free: Uint8Array<ArrayBuffer>[][] = [];
  readonly #pinned = new Set<number>();

  /** `tensors`: all that the steps change. */
  constructor(tensors: readonly CopiedTensor[], options: { capacity: number }) {
    this.#tensors = tensors;
    this.capacity = options.capacity;
  }

  /** Bytes of host memory that it may take. */
  get bytes(): number {
    return this.capacity * this.#copyBytes;
  }

  get #copyBytes(): number {
    return this.#tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  }

  /** Whether it holds the snapshot of a step. */
  has(step: number): boolean {
    return this.#copies.has(step);
  }

  /** Copies where the run stands, after `step` steps. The oldest copy makes room where there is none. */
  take(step: number): void {
    if (this.capacity === 0) return;
    this.#release(step);
    const free = [...this.#copies.keys()].filter((other) => !this.#pinned.has(other));
    if (free.length >= this.capacity) this.#release(Math.min(...free));
    this.#copy(step);
  }

  /**
   * Holds the copy of a step until {@linkcode retain} or {@linkcode unpin} lets it go, beyond the capacity; one that is not
   * there yet is taken of where the run stands.
   *
   * @param availableBytes Of the host; null where that isn't known.
   * @returns Whether there was memory for it.
   */
  pin(step: number, availableBytes: number | null): boolean {
    if (!this.has(step)) {
      const fits = availableBytes === null || this.#copyBytes <= MEMORY_SHARE * availableBytes;
      if (this.#free.length === 0 && !fits) return false;
      this.#copy(step);
    }
    this.#pinned.add(step);
    return true;
  }

  /** Lets a copy go that was pinned. */
  unpin(step: number): void {
    if (this.#pinned.has(step)) this.#release(step);
  }

  #copy(step: number): void {
    const copy = this.#free.pop() ??
      this.#tensors.map((tensor) => new Uint8Array(tensorBytes(tensor)));
    for (const [index, tensor] of this.#tensors.entries()) tensor.read(copy[index]!, 0);
    this.#copies.set(step, copy);
  }

  /** Copies a snapshot back. */
  restore(step: number): void {
    const copy = this.#copies.get(step);
    if (copy === undefined) throw new RangeError(`Cannot restore step ${step} as it has no copy`);
    for (const [index, tensor] of this.#tensors.entries()) tensor.write(copy[index]!, 0);
  }

  /** Lets every other copy go. */
  retain(steps: readonly number[]): void {
    for (const step of [...this.#copies.keys()]) {
      if (!steps.includes(step)) this.#release(step);
    }
  }

  #release(step: number): void {
    const copy = this.#copies.get(step);
    if (copy === undefined) return;
    this.#copies.delete(step);
    const pinned = this.#pinned.delete(step);
    if (!pinned || this.#free.length < this.capacity) this.#free.push(copy);
  }
}

/** Why a ring is too large for the host, as a warning; null where it isn't, or where that isn't known. */
export function whyNotInMemory(
  ring: Pick<SnapshotRing, "bytes" | "capacity">,
  availableBytes: number | null,
): string | null {
  if (availableBytes === null || ring.bytes <= MEMORY_SHARE * availableBytes) return null;
  return `${ring.capacity} snapshots would take ${
    gib(ring.bytes, 1)
  } GiB of host memory, more than half of the ` +
    `${gib(availableBytes, 1)} GiB that are available: rollbacks go to checkpoints alone; ` +
    "lower checkpoint.every_steps so that less is undone";
}
