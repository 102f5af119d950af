/** CPU devices for tests, one for each instruction set of this machine. */

import { assertSameBits } from "./compare.ts";
import { Device } from "../../lib/ffi/device.ts";

const LEVELS = ["portable", "avx2", "avx512"] as const;

export type Isa = typeof LEVELS[number];

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
  for (const isa of LEVELS.filter(hasIsa)) {
    using device = openCpu({ isa });
    try {
      body(device);
    } catch (error) {
      if (error instanceof Error) error.message = `[${isa}] ${error.message}`;
      throw error;
    }
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
  if (isa === undefined) return body();
  const before = Deno.env.get("TITANBIT_ISA");
  Deno.env.set("TITANBIT_ISA", isa);
  try {
    return body();
  } finally {
    if (before === undefined) Deno.env.delete("TITANBIT_ISA");
    else Deno.env.set("TITANBIT_ISA", before);
  }
}
