/**
 * Points in a device's order of ops, to tell how long the ops between them took.
 *
 * @module
 */

import type { Device } from "./device.ts";

/** A point that is passed when every op before it is done. Hold it with `using`, no longer than its device. */
export class DeviceEvent implements Disposable {
  readonly #device: Device;
  readonly #milliseconds = new Float64Array(1);
  #handle: bigint | null;

  /** Throws {@linkcode NativeError} where the device has no room for one. */
  constructor(device: Device) {
    const handle = new BigUint64Array(1);
    device.check(device.symbols.tb_event_create(device.context, handle), "tb_event_create");
    this.#device = device;
    this.#handle = handle[0]!;
  }

  /** Puts the point behind every op called so far; recorded into a graph, each launch passes it. */
  record(): void {
    const { symbols, context } = this.#device;
    this.#device.check(symbols.tb_event_record(context, this.#open()), "tb_event_record");
  }

  /** Milliseconds from `earlier` to this one, both recorded. Waits for this one. */
  millisecondsSince(earlier: DeviceEvent): number {
    const { symbols, context } = this.#device;
    const status = symbols.tb_event_elapsed(
      context,
      earlier.#open(),
      this.#open(),
      this.#milliseconds,
    );
    this.#device.check(status, "tb_event_elapsed");
    return this.#milliseconds[0]!;
  }

  /** Waits until the point is passed. */
  wait(): void {
    this.millisecondsSince(this);
  }

  [Symbol.dispose](): void {
    if (this.#handle === null) return;
    const { symbols, context } = this.#device;
    this.#device.check(symbols.tb_event_destroy(context, this.#handle), "tb_event_destroy");
    this.#handle = null;
  }

  #open(): bigint {
    if (this.#handle === null) throw new Error("Cannot use an event as it was disposed of");
    return this.#handle;
  }
}
