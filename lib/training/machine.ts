/**
 * What this machine has: native builds, devices, and how fast the chosen one is.
 *
 * @module
 */

import { activationDtypeOfBackend, Device } from "../ffi/device.ts";
import { NativeError } from "../ffi/errors.ts";
import {
  describeLibraries,
  type DeviceKind,
  type LibraryDescription,
  openLibrary,
} from "../ffi/library.ts";
import { type DeviceSpeed, measureDeviceSpeed } from "./device_speed.ts";
import type { TrainingDevice } from "./fit.ts";

/** Native builds, and why they can't be used where they can't. */
export interface FoundLibraries {
  /** Version of the runtime. */
  readonly deno: string;
  readonly libraries: readonly {
    readonly path: string;
    readonly description: LibraryDescription;
  }[];
  readonly problem: string | null;
}

/** A device, where there is one. */
export interface FoundDevice {
  readonly backend: "cuda" | "cpu" | null;
  readonly name: string | null;
  readonly memoryBytes: number | null;
  /** Dtype of its activations; float32 where there is no device. */
  readonly dtype: "float32" | "bfloat16";
  readonly speed: DeviceSpeed | null;
  /** Why there is no speed. */
  readonly notMeasured: string | null;
}

/** Looks for native builds; one that can't be opened is a `problem`, not an error. */
export function findLibraries(): FoundLibraries {
  const deno = Deno.version.deno;
  try {
    return { deno, libraries: describeLibraries(), problem: null };
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    return { deno, libraries: [], problem: error.message };
  }
}

/**
 * Opens a device, measures it if asked to, and closes it.
 *
 * @throws {NativeError} Where there is no such device and it is `required`.
 */
export function findDevice(
  options: { kind: DeviceKind; required: boolean; measure: boolean },
): FoundDevice {
  let opened: Device;
  try {
    opened = Device.open({ kind: options.kind });
  } catch (error) {
    if (!(error instanceof NativeError) || options.required) throw error;
    return {
      backend: null,
      name: null,
      memoryBytes: null,
      dtype: "float32",
      speed: null,
      notMeasured: error.message,
    };
  }
  using device = opened;
  const { name, memoryBytes } = device.description;
  return {
    backend: device.backend,
    name,
    memoryBytes,
    dtype: device.activationDtype,
    speed: options.measure ? measureDeviceSpeed(device) : null,
    notMeasured: options.measure ? null : "--no-measure",
  };
}

/**
 * What a run would train on, without opening it.
 *
 * @throws {NativeError} Where there is no such device.
 */
export function describeDevice(kind: DeviceKind): TrainingDevice {
  const { backend, path, description } = openLibrary({ device: kind });
  const device = description.devices.find(({ usable }) => usable !== false);
  if (device === undefined) {
    throw new NativeError(
      `Cannot train as ${path} finds no device: ${
        description.reason ?? "none is new enough"
      }; run with --device cpu`,
      { status: "no device", op: "tb_describe" },
    );
  }
  const { name, memoryBytes } = device;
  return { backend, name, memoryBytes, dtype: activationDtypeOfBackend(backend) };
}
