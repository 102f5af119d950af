/**
 * Finds and opens the native library. Nothing else in the project says `Deno.dlopen` for it.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { NativeError } from "./errors.ts";
import { limitSpinning } from "./openmp.ts";
import { withPermissions } from "./permissions.ts";
import { SYMBOLS } from "./symbols.ts";

/** The version of `titanbit.h` that this TypeScript speaks. */
export const ABI_VERSION = 8;

/** Which build of the library to use: `auto` takes CUDA where a card is, else the CPU. */
export type DeviceKind = "auto" | "cuda" | "cpu";

/** An opened build of the library. It stays open for the life of the process. */
export interface NativeLibrary {
  readonly backend: "cuda" | "cpu";
  /** Where it was loaded from. */
  readonly path: string;
  /** The C functions, by name. */
  readonly symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];
  /** What the build says of itself and of the devices it sees. */
  readonly description: LibraryDescription;
}

/** The JSON of `tb_describe`. */
export interface LibraryDescription {
  readonly backend: "cuda" | "cpu";
  readonly compiler: string;
  readonly devices: readonly DeviceDescription[];
  /** CUDA: version of the runtime in the library. */
  readonly runtime?: string;
  /** CUDA: newest version that the driver runs; null without a driver. */
  readonly driver?: string | null;
  /** CUDA: why there are no devices, null where there are. */
  readonly reason?: string | null;
  /** CUDA: file of the cuBLASLt that was found, null without one. */
  readonly cublasLt?: string | null;
}

/** One device that a library found. */
export interface DeviceDescription {
  readonly index: number;
  readonly name: string;
  /** Instruction set in use (CPU) or compute capability (CUDA), such as `sm_90`. */
  readonly isa: string;
  /** Cores (CPU) or multiprocessors (CUDA). */
  readonly cores: number;
  readonly memoryBytes: number;
  /** CUDA: bytes of the L2 cache. */
  readonly l2Bytes?: number;
  /** CUDA: address of the card on the PCI bus, such as `0000:c1:00.0`. */
  readonly pciBusId?: string;
  /** CUDA: false for a card that is too old. */
  readonly usable?: boolean;
}

const FILES = { cuda: "libtitanbit.so", cpu: "libtitanbit_cpu.so" } as const;
const MAKE = { cuda: "make cuda", cpu: "make" } as const;

// A library is opened once a process: its code is shared and its contexts are what callers own.
const opened = new Map<string, NativeLibrary>();

/**
 * Opens the build for a device.
 *
 * The file is the `path` given, else `$TITANBIT_LIB`, else the one in `build/` beside this source tree.
 *
 * Throws {@linkcode NativeError} where it is missing, is of another ABI version, finds no device, or the program may not open it.
 */
export function openLibrary(
  options: { device?: DeviceKind; path?: string } = {},
): NativeLibrary {
  return withPermissions(() => findLibrary(options));
}

function findLibrary(options: { device?: DeviceKind; path?: string }): NativeLibrary {
  const device = options.device ?? "auto";
  const given = options.path ?? Deno.env.get("TITANBIT_LIB");
  if (given !== undefined && given !== "") {
    const library = openFile(given, device === "cuda" ? "cuda" : "cpu");
    if (device !== "auto" && library.backend !== device) {
      throw new NativeError(
        `Cannot use ${given} for device ${device} as it is the ${library.backend} build: give another TITANBIT_LIB or --device ${library.backend}`,
        { status: "no device", op: "dlopen" },
      );
    }
    return library;
  }
  if (device !== "auto") return openFile(buildPath(device), device);
  if (exists(buildPath("cuda"))) {
    const library = openFile(buildPath("cuda"), "cuda");
    if (library.description.devices.some(({ usable }) => usable !== false)) return library;
  }
  return openFile(buildPath("cpu"), "cpu");
}

/** Opens every build that is there and says what each found; builds that are missing are left out. */
export function describeLibraries(): { path: string; description: LibraryDescription }[] {
  const found = [];
  for (const backend of ["cuda", "cpu"] as const) {
    const path = buildPath(backend);
    if (!exists(path)) continue;
    found.push({ path, description: openFile(path, backend).description });
  }
  return found;
}

/** Where `make` puts a build: `build/` of this source tree, or the folder of the bundled program. */
export function buildPath(backend: "cuda" | "cpu"): string {
  return fromFileUrl(new URL(`../../build/${FILES[backend]}`, import.meta.url));
}

function openFile(path: string, backend: "cuda" | "cpu"): NativeLibrary {
  const known = opened.get(path);
  if (known !== undefined) return known;
  if (!exists(path)) {
    throw new NativeError(
      `Cannot open the native library as ${path} is missing: run \`${
        MAKE[backend]
      }\` in the source tree`,
      { status: "no device", op: "dlopen" },
    );
  }
  limitSpinning();
  checkAbi(path, backend);
  let symbols: NativeLibrary["symbols"];
  try {
    symbols = Deno.dlopen(path, SYMBOLS).symbols;
  } catch (error) {
    throw unusable(path, backend, error);
  }
  const description = describe(symbols, path);
  const library = { backend: description.backend, path, symbols, description };
  opened.set(path, library);
  return library;
}

/** Asks for the version alone first, so that a library of another version is named as such, not by a symbol it lacks. */
function checkAbi(path: string, backend: "cuda" | "cpu"): void {
  let found: number;
  try {
    const probe = Deno.dlopen(path, { tb_abi_version: { parameters: [], result: "i32" } });
    found = probe.symbols.tb_abi_version();
    probe.close();
  } catch (error) {
    throw unusable(path, backend, error);
  }
  if (found !== ABI_VERSION) {
    throw new NativeError(
      `Cannot use ${path} as its ABI version must be ${ABI_VERSION}: current value is ${found}, run \`${
        MAKE[backend]
      }\` in the source tree`,
      { status: "unsupported", op: "tb_abi_version" },
    );
  }
}

function unusable(path: string, backend: "cuda" | "cpu", error: unknown): NativeError {
  if (error instanceof Deno.errors.NotCapable) throw error;
  const reason = error instanceof Error ? error.message : String(error);
  return new NativeError(
    `Cannot open ${path}: ${reason}; run \`${
      MAKE[backend]
    }\` in the source tree to build it for this machine`,
    { status: "unsupported", op: "dlopen" },
  );
}

function describe(symbols: NativeLibrary["symbols"], path: string): LibraryDescription {
  const text = new Uint8Array(16384);
  const written = new BigInt64Array(1);
  const status = symbols.tb_describe(text, BigInt(text.length), written);
  if (status !== 0) {
    throw new NativeError(`Cannot read the description of ${path}`, {
      status: "internal",
      op: "tb_describe",
    });
  }
  return JSON.parse(new TextDecoder().decode(text.subarray(0, Number(written[0]))));
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}
