/**
 * Metrics of one's own: numbers that layers, observers and loops give a name, until a record is due.
 *
 * @module
 */

import { expectTensor, Tensor } from "../tensor/tensor.ts";
import { describeValue } from "../std/describe.ts";

/**
 * A value of a metric. A number is what it was when it was logged, and stands in the next record alone. A tensor, (1) float32 on the
 * device, and a function are asked when a record is due, in every record from then on: a graph that a card runs again does not log again.
 */
export type MetricValue = number | Tensor | (() => number);

/**
 * Gives metrics of one's own their names and values for the next record of a step; a later value of a name takes the place of an earlier
 * one. No one waits for the device until the record is due.
 *
 * A name has parts of a-z, 0-9 and _ with points between, the first begins with a letter: `scale`, `layers.3.entropy`.
 *
 * Throws `RangeError` for another name, one that differs from another in points and _ alone, and a tensor of another shape; `TypeError`
 * for a tensor of another dtype, and for what is no value.
 */
export type Log = (values: Readonly<Record<string, MetricValue>>) => void;

const NAME = /^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$/;
const LONGEST = 100;

/** Keeps what was logged until a record takes it. */
export class MetricLog {
  readonly #values = new Map<string, MetricValue>();
  /** Names as Prometheus has them, which knows no points. */
  readonly #plain = new Map<string, string>();

  /** Takes values; see {@linkcode Log}. Takes all of them or none. */
  readonly log: Log = (values) => {
    const entries = Object.entries(values);
    for (const [name, value] of entries) {
      checkValue(name, value);
      this.#checkName(name);
    }
    for (const [name, value] of entries) this.#values.set(name, value);
  };

  /**
   * Values by name, for a record; `null` where nothing is logged. What is not finite is null. Reads tensors, which waits for the device,
   * and forgets numbers.
   */
  take(): Record<string, number | null> | null {
    if (this.#values.size === 0) return null;
    const taken = Object.fromEntries(Array.from(this.#values, ([name, value]) => {
      const number = read(name, value);
      return [name, Number.isFinite(number) ? number : null];
    }));
    this.forget();
    return taken;
  }

  /** Forgets numbers that no record took, and gives their names. */
  forget(): string[] {
    const numbers = [...this.#values].filter(([, value]) => typeof value === "number");
    for (const [name] of numbers) this.#values.delete(name);
    return numbers.map(([name]) => name);
  }

  #checkName(name: string): void {
    if (!NAME.test(name) || name.length > LONGEST) {
      throw new RangeError(
        `Cannot log a metric as its name must be parts of a-z, 0-9 and _ with points between, begin with a letter and have at most ` +
          `${LONGEST} characters: current value is ${describeValue(name, { limit: 2 * LONGEST })}`,
      );
    }
    const plain = name.replaceAll(".", "_");
    const known = this.#plain.get(plain) ?? name;
    if (known !== name) {
      throw new RangeError(
        `Cannot log ${name} as it must differ from other names in more than points and _: ${known} was logged before`,
      );
    }
    this.#plain.set(plain, name);
  }
}

function checkValue(name: string, value: unknown): asserts value is MetricValue {
  if (value instanceof Tensor) {
    return expectTensor(value, { op: `log of ${name}`, dtype: "float32", shape: [1] });
  }
  if (typeof value === "number" || typeof value === "function") return;
  throw new TypeError(
    `Cannot log ${name} as its value must be a number, a tensor of one or a function that gives a number: current value is ` +
      `${value === null ? "null" : typeof value}`,
  );
}

function read(name: string, value: MetricValue): number {
  if (value instanceof Tensor) return value.toFloat32Array()[0]!;
  if (typeof value === "number") return value;
  const found: unknown = value();
  if (typeof found === "number") return found;
  throw new TypeError(
    `Cannot record ${name} as its function must give a number: current value is ${typeof found}`,
  );
}
