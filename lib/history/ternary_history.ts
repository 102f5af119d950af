/**
 * What a run's records say of its ternary weights, kept small: a table of numbers for each statistic.
 *
 * @module
 */

import type { TernaryRecord } from "../metrics/records.ts";

/** A statistic of every matrix, or of every input of projections. */
export interface TernaryStatistic {
  /** Field of the record. */
  readonly field: TernaryField;
  readonly title: string;
  readonly unit: string;
  /** What the record has a number for. */
  readonly of: "matrices" | "inputs";
  /** What stands for several records: their mean, or the largest. */
  readonly joined: "mean" | "max";
}

type TernaryField =
  | "zero"
  | "flipped"
  | "beta"
  | "near"
  | "minus"
  | "plus"
  | "gamma_mean"
  | "gamma_max"
  | "input_zero"
  | "input_clipped";

function statistic(
  field: TernaryField,
  title: string,
  options: Partial<Pick<TernaryStatistic, "unit" | "of" | "joined">> = {},
): TernaryStatistic {
  return { field, title, unit: "share of 1", of: "matrices", joined: "mean", ...options };
}

/** All of them, in the order in which they are offered. docs/ternary-statistics.md explains each. */
export const TERNARY_STATISTICS: readonly TernaryStatistic[] = [
  statistic("zero", "Zeros"),
  statistic("flipped", "Flipped since the last count"),
  statistic("beta", "Scale beta", { unit: "as weights" }),
  statistic("near", "Near a threshold"),
  statistic("minus", "Weights of -1"),
  statistic("plus", "Weights of 1"),
  statistic("gamma_mean", "Activation gamma, mean", { unit: "", of: "inputs" }),
  statistic("gamma_max", "Activation gamma, largest", { unit: "", of: "inputs", joined: "max" }),
  statistic("input_zero", "Activations of 0", { of: "inputs" }),
  statistic("input_clipped", "Activations at the limits", { of: "inputs" }),
];

/** One statistic over layers and time. */
export interface HeatMap {
  readonly field: TernaryField;
  readonly title: string;
  readonly unit: string;
  readonly layers: number;
  /** Rows of a layer: matrices or inputs. */
  readonly names: readonly string[];
  /** Of each column: the step of its last record. */
  readonly steps: readonly number[];
  /** Row r of column c at `c * layers * names.length + r`, rows layer by layer; `null` where nothing is known. */
  readonly values: readonly (number | null)[];
}

/** Rows of numbers by rising step. */
export class TernaryHistory {
  #shape = "";
  #layers = 0;
  #names: Record<TernaryStatistic["of"], readonly string[]> = { matrices: [], inputs: [] };
  readonly #steps: number[] = [];
  readonly #rows = new Map<TernaryField, Float32Array[]>();
  #cuts = 0;

  /** Records. */
  get length(): number {
    return this.#steps.length;
  }

  /** Times that records were taken away. */
  get cuts(): number {
    return this.#cuts;
  }

  /** Takes a record; one of another network than those before begins anew. */
  take(record: TernaryRecord): void {
    const { step, layers, matrices, inputs } = record;
    const shape = JSON.stringify([layers, matrices, inputs]);
    this.cutFrom(shape === this.#shape ? step : -Infinity);
    this.#shape = shape;
    this.#layers = layers;
    this.#names = { matrices, inputs };
    this.#steps.push(step);
    for (const { field, of } of TERNARY_STATISTICS) {
      const row = new Float32Array(layers * this.#names[of].length).fill(NaN);
      for (const [index, value] of (record[field] ?? []).entries()) {
        if (index < row.length && typeof value === "number") row[index] = value;
      }
      const rows = this.#rows.get(field) ?? [];
      rows.push(row);
      this.#rows.set(field, rows);
    }
  }

  /** Takes away records of `step` and later ones. */
  cutFrom(step: number): void {
    const length = this.#steps.findIndex((one) => one >= step);
    if (length === -1) return;
    this.#steps.length = length;
    for (const rows of this.#rows.values()) rows.length = length;
    this.#cuts++;
  }

  /** A statistic in up to `columns` columns, of the records from one step to another. */
  heatMap(
    { field, title, unit, of, joined }: TernaryStatistic,
    options: { columns: number; from?: number; to?: number },
  ): HeatMap {
    const { columns, from = 0, to = Infinity } = options;
    const first = this.#steps.findIndex((step) => step >= from);
    const last = this.#steps.findLastIndex((step) => step <= to);
    const count = first === -1 || last < first ? 0 : last - first + 1;
    const buckets = Math.min(count, columns);
    const rows = this.#rows.get(field) ?? [];
    const height = this.#layers * this.#names[of].length;
    const steps: number[] = [];
    const values: (number | null)[] = [];
    const edge = (bucket: number) => first + Math.floor(count * bucket / buckets);
    for (let bucket = 0; bucket < buckets; bucket++) {
      const [start, end] = [edge(bucket), edge(bucket + 1)];
      steps.push(this.#steps[end - 1]!);
      for (let row = 0; row < height; row++) {
        values.push(join(rows.slice(start, end).map((one) => one[row]!), joined));
      }
    }
    return { field, title, unit, layers: this.#layers, names: this.#names[of], steps, values };
  }
}

/** Of the numbers among `values`, with the digits that a picture shows; `null` where there are none. */
function join(values: readonly number[], how: "mean" | "max"): number | null {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return null;
  const joined = how === "max"
    ? Math.max(...known)
    : known.reduce((sum, value) => sum + value, 0) / known.length;
  return Number(joined.toPrecision(4));
}
