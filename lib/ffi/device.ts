/**
 * A context of the native library: the device's memory, its stream of ops and its errors.
 *
 * @module
 */

import { NativeError, statusName } from "./errors.ts";
import {
  type DeviceDescription,
  type DeviceKind,
  type NativeLibrary,
  openLibrary,
} from "./library.ts";
import { withPermissions } from "./permissions.ts";

/** Options of {@linkcode Device.open}. */
export interface DeviceOptions {
  /** Which backend. @default "auto" */
  kind?: DeviceKind;
  /** Index of the card among those found. @default the first that can be used */
  index?: number;
  /** Threads of the CPU build; 0 takes every core. @default TITANBIT_THREADS, else 0 */
  threads?: number;
  /**
   * The user's setting that `threads` is, such as `--threads`: more of them than cores are then refused, since ops that wait for each
   * other's threads get many times slower. @default none: any number is taken
   */
  threadsSetting?: string;
  /** The library's file, where it is not the one `make` builds. */
  library?: string;
}

const ERROR_BYTES = 1024;

/**
 * An open device. Ops run in the order of the calls; on CUDA they are asynchronous until {@linkcode Device.synchronize}
 * or a copy to the host.
 */
export class Device implements Disposable {
  /** The opened build. */
  readonly library: NativeLibrary;
  /** Handle that every op takes first. */
  readonly context: bigint;
  /** The C functions. */
  readonly symbols: NativeLibrary["symbols"];
  /** What was found of this device. */
  readonly description: DeviceDescription;
  readonly threads: number;
  #open = true;

  private constructor(library: NativeLibrary, context: bigint, index: number, threads: number) {
    this.library = library;
    this.symbols = library.symbols;
    this.context = context;
    this.threads = threads;
    const description = library.description.devices[index];
    if (description === undefined) throw new Error(`no description of device ${index}`);
    this.description = description;
  }

  /**
   * Opens a device. Throws {@linkcode NativeError} where there is none, its library is missing or stale, or the program may not open it;
   * `RangeError` for a setting of more threads than cores.
   */
  static open(options: DeviceOptions = {}): Device {
    const library = openLibrary({
      ...(options.kind !== undefined && { device: options.kind }),
      ...(options.library !== undefined && { path: options.library }),
    });
    const index = options.index ?? firstUsable(library);
    const { threads, setting } = options.threads === undefined
      ? { threads: withPermissions(threadsFromEnvironment), setting: "TITANBIT_THREADS" }
      : { threads: options.threads, setting: options.threadsSetting };
    if (setting !== undefined) requireCores(library, { threads, setting });
    const handle = new BigUint64Array(1);
    const error = new Uint8Array(ERROR_BYTES);
    const status = library.symbols.tb_context_create(
      index,
      threads,
      handle,
      error,
      BigInt(error.length),
    );
    if (status !== 0) {
      throw new NativeError(textOf(error), { status: statusName(status), op: "tb_context_create" });
    }
    return new Device(library, handle[0]!, index, threads);
  }

  /** `cuda` or `cpu`. */
  get backend(): "cuda" | "cpu" {
    return this.library.backend;
  }

  /** Dtype in which activations and gradients between ops are kept. */
  get activationDtype(): "float32" | "bfloat16" {
    return activationDtypeOfBackend(this.backend);
  }

  /** Throws the library's own words where an op's status is not 0. */
  check(status: number, op: string): void {
    if (status === 0) return;
    const text = new Uint8Array(ERROR_BYTES);
    this.symbols.tb_last_error(this.context, text, BigInt(text.length));
    const message = textOf(text) || `${op} failed with status ${status}`;
    throw new NativeError(message, { status: statusName(status), op });
  }

  /** Allocates `bytes` of device memory, 64-byte aligned; its address. */
  alloc(bytes: number): bigint {
    const address = new BigUint64Array(1);
    this.check(this.symbols.tb_alloc(this.context, BigInt(bytes), address), "tb_alloc");
    return address[0]!;
  }

  /** Frees what {@linkcode Device.alloc} gave. */
  free(address: bigint): void {
    if (this.#open) this.check(this.symbols.tb_free(this.context, address), "tb_free");
  }

  /** Copies a host array into device memory. */
  upload(to: bigint, from: ArrayBufferView<ArrayBuffer>): void {
    const status = this.symbols.tb_copy_to_device(this.context, to, from, BigInt(from.byteLength));
    this.check(status, "tb_copy_to_device");
  }

  /** Copies device memory into a host array, waiting for it. */
  download(to: ArrayBufferView<ArrayBuffer>, from: bigint): void {
    const status = this.symbols.tb_copy_to_host(this.context, to, from, BigInt(to.byteLength));
    this.check(status, "tb_copy_to_host");
  }

  /** Copies between two places of device memory. */
  copy(to: bigint, from: bigint, bytes: number): void {
    this.check(this.symbols.tb_copy(this.context, to, from, BigInt(bytes)), "tb_copy");
  }

  /** Sets every byte of a range. */
  fill(to: bigint, byteValue: number, bytes: number): void {
    this.check(this.symbols.tb_fill(this.context, to, byteValue, BigInt(bytes)), "tb_fill");
  }

  /**
   * Memory that can be had now, and in all: the card's; on the CPU the host's, or its cgroup's where that is less.
   */
  memory(): { freeBytes: number; totalBytes: number } {
    const free = new BigInt64Array(1), total = new BigInt64Array(1);
    this.check(this.symbols.tb_memory(this.context, free, total), "tb_memory");
    return { freeBytes: Number(free[0]), totalBytes: Number(total[0]) };
  }

  /** Waits for every op. */
  synchronize(): void {
    this.check(this.symbols.tb_synchronize(this.context), "tb_synchronize");
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.symbols.tb_context_destroy(this.context);
  }
}

/** Dtype in which a backend keeps activations by itself. */
export function activationDtypeOfBackend(backend: "cuda" | "cpu"): "float32" | "bfloat16" {
  return backend === "cuda" ? "bfloat16" : "float32";
}

/** Index of the first card that is not too old; 0 where there is none, so that the library says what is wrong with it. */
function firstUsable(library: NativeLibrary): number {
  return Math.max(0, library.description.devices.findIndex(({ usable }) => usable !== false));
}

/** Refuses more threads than the CPU has cores; a card takes no threads. */
function requireCores(
  { backend, description }: NativeLibrary,
  { threads, setting }: { threads: number; setting: string },
): void {
  const cores = description.devices[0]?.cores ?? Infinity;
  if (backend !== "cpu" || threads <= cores) return;
  throw new RangeError(
    `Cannot open the CPU as ${setting} must be at most its ${cores} cores: current value is ${threads}; leave it out to take them all`,
  );
}

function threadsFromEnvironment(): number {
  const text = Deno.env.get("TITANBIT_THREADS");
  if (text === undefined || text === "") return 0;
  if (!/^\d+$/.test(text)) {
    throw new RangeError(
      `Cannot open a device as TITANBIT_THREADS must be a whole number from 0: current value is ${text}`,
    );
  }
  return Number(text);
}

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
