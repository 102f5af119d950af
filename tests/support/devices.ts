/** Devices for tests: the CPU once for each instruction set of this machine, and the card where there is one. */

import { assertSameBits } from "./compare.ts";
import { type Random, withRandom } from "./random.ts";
import { Device } from "../../lib/ffi/device.ts";
import { describeLibraries } from "../../lib/ffi/library.ts";

/** Instruction sets of the CPU build, weakest first. */
export const ISA_LEVELS = ["portable", "avx2", "avx512"] as const;

export type Isa = typeof ISA_LEVELS[number];

/** Opens the CPU with its choice of instruction set capped. */
export function openCpu(options: { isa?: Isa; threads?: number } = {}): Device {
  return withCap(options.isa, () => Device.open({ kind: "cpu", threads: options.threads ?? 2 }));
}

/** Whether this machine runs an instruction set. */
export function hasIsa(isa: Isa): boolean {
  return withCap(isa, () => {
    using device = Device.open({ kind: "cpu", threads: 1 });
    const text = new Uint8Array(4096);
    const written = new BigInt64Array(1);
    device.check(
      device.symbols.tb_describe(text, BigInt(text.length), written),
      "tb_describe",
    );
    const json = new TextDecoder().decode(text.subarray(0, Number(written[0])));
    return JSON.parse(json).devices[0].isa === isa;
  });
}

/** Runs a body on every instruction set that this machine has; the message of what it throws names the set. */
export function onEveryIsa(body: (device: Device) => void): void {
  for (const isa of ISA_LEVELS.filter(hasIsa)) runOn(isa, () => openCpu({ isa }), body);
}

/** Whether the CUDA build is there and finds a card. */
export function hasCuda(): boolean {
  return describeLibraries().some(({ description }) =>
    description.backend === "cuda" && description.devices.length > 0
  );
}

/** Opens the first card. */
export function openCuda(): Device {
  return Device.open({ kind: "cuda" });
}

/** Cards that {@linkcode onCuda} has opened, by its name for them; they stay open. */
const cards = new Map<string, Device>();

/**
 * The card as it is with the variables of now. Its scratch takes long enough to make, above all beneath a sanitizer, that tests of many
 * small shapes share one; what a test before has left in it is as good a poison as any.
 */
function sharedCard(name: string): Device {
  let card = cards.get(name);
  if (card === undefined) cards.set(name, card = openCuda());
  return card;
}

/**
 * Runs a body on the card, where there is one, as {@linkcode onEveryIsa}. With `products` once more without cuBLAS, on the
 * project's own products; with `wgmma` once more without the kernels that only Hopper has; with `packed` once more without
 * Hopper's kernel for 2-bit weights, and once without that for few rows either.
 */
export function onCuda(
  body: (device: Device) => void,
  options: { products?: boolean; wgmma?: boolean; packed?: boolean } = {},
): void {
  if (!hasCuda()) return;
  onCard("cuda", body);
  if (options.products) {
    withVariable("TITANBIT_NO_CUBLAS", "1", () => onCard("cuda without cuBLAS", body));
  }
  if (options.wgmma) {
    withVariable("TITANBIT_NO_WGMMA", "1", () => onCard("cuda without wgmma", body));
  }
  if (options.packed) {
    withVariable("TITANBIT_NO_PACKED_WGMMA", "1", () => {
      onCard("cuda without wgmma for packed weights", body); // up to 64 rows the kernel for few
    });
    withVariable("TITANBIT_NO_PACKED_ROWS", "1", () => {
      withVariable("TITANBIT_NO_PACKED_WGMMA", "1", () => {
        onCard("cuda without kernels for packed weights", body);
      });
    });
  }
}

/** {@linkcode onEveryIsa} and {@linkcode onCuda}. */
export function onEveryDevice(
  body: (device: Device) => void,
  options: { products?: boolean; packed?: boolean } = {},
): void {
  onEveryIsa(body);
  onCuda(body, options);
}

/**
 * A test on the card. Where there is none it is shown as ignored, with the reason in its name. With `products` the body runs
 * once more without cuBLAS.
 */
export function cudaTest(
  name: string,
  body: (device: Device, random: Random) => void,
  options: { products?: boolean } = {},
): void {
  const found = hasCuda();
  Deno.test({
    name: found ? `cuda: ${name}` : `cuda: no device found, skipped: ${name}`,
    ignore: !found,
    fn: withRandom((random) => onCuda((device) => body(device, random), options)),
  });
}

function runOn(name: string, open: () => Device, body: (device: Device) => void): void {
  using device = open();
  named(name, device, body);
}

function onCard(name: string, body: (device: Device) => void): void {
  named(name, sharedCard(name), body);
}

function named(name: string, device: Device, body: (device: Device) => void): void {
  try {
    body(device);
  } catch (error) {
    if (error instanceof Error) error.message = `[${name}] ${error.message}`;
    throw error;
  }
}

/** Passes where `run`, which gives copies of its outputs by name, gives the same bits with 1, 2, 3 and 8 threads. */
export function assertSameForThreads(
  run: (device: Device) => Record<string, ArrayBufferView>,
): void {
  const outputs = (threads: number) => {
    using device = openCpu({ threads });
    return run(device);
  };
  const expected = outputs(1);
  for (const threads of [2, 3, 8]) {
    for (const [name, actual] of Object.entries(outputs(threads))) {
      assertSameBits({
        name: `${name} with ${threads} threads`,
        actual,
        expected: expected[name]!,
      });
    }
  }
}

function withCap<Result>(isa: Isa | undefined, body: () => Result): Result {
  return isa === undefined ? body() : withVariable("TITANBIT_ISA", isa, body);
}

/** Runs a body with a variable of the environment set, which native code sees too. */
function withVariable<Result>(name: string, value: string, body: () => Result): Result {
  const before = Deno.env.get(name);
  Deno.env.set(name, value);
  try {
    return body();
  } finally {
    if (before === undefined) Deno.env.delete(name);
    else Deno.env.set(name, before);
  }
}
