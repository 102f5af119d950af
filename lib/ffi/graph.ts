/**
 * Ops recorded once and launched as one.
 *
 * @module
 */

import type { Device } from "./device.ts";

/** A recorded list of ops, with the addresses and sizes that they were given. Hold it with `using`. */
export class Graph implements Disposable {
  readonly #device: Device;
  #handle: bigint | null;

  private constructor(device: Device, handle: bigint) {
    this.#device = device;
    this.#handle = handle;
  }

  /** Whether a device records graphs; one that does not runs every op at once. */
  static isSupported(device: Device): boolean {
    return device.backend === "cuda";
  }

  /**
   * Records the ops that `run` calls, which are not run. It may not copy to or from the host, or wait.
   *
   * Throws {@linkcode NativeError} on the CPU, and where an op can't be recorded; what `run` throws ends the recording.
   */
  static record(device: Device, run: () => void): Graph {
    const { symbols, context } = device;
    device.check(symbols.tb_graph_begin(context), "tb_graph_begin");
    const handle = new BigUint64Array(1);
    let recorded = false;
    try {
      run();
      recorded = true;
    } finally {
      const status = symbols.tb_graph_end(context, handle);
      if (recorded) device.check(status, "tb_graph_end");
      else if (handle[0] !== 0n) symbols.tb_graph_destroy(context, handle[0]!);
    }
    return new Graph(device, handle[0]!);
  }

  /** Runs the recorded ops, after every op before. */
  launch(): void {
    if (this.#handle === null) throw new Error("Cannot launch a graph as it was disposed of");
    const { symbols, context } = this.#device;
    this.#device.check(symbols.tb_graph_launch(context, this.#handle), "tb_graph_launch");
  }

  [Symbol.dispose](): void {
    if (this.#handle === null) return;
    const { symbols, context } = this.#device;
    this.#device.check(symbols.tb_graph_destroy(context, this.#handle), "tb_graph_destroy");
    this.#handle = null;
  }
}
