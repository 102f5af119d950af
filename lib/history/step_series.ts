/**
 * The numbers of a run's steps as columns of typed arrays.
 *
 * @module
 */

/** A growing column. */
type Column = Float32Array | Float64Array;

const FIRST_ROWS = 1024;
/** Columns whose values may pass 2^24, which single precision does not hold exactly, or are sums of many. */
const DOUBLE = new Set(["step", "tokens", "elapsed_ms"]);

/**
 * Rows by rising step. A row of a step that isn't above the last takes the place of the rows from that step on: a run
 * that was resumed or rolled back takes its steps again. With `repeats` rows of the last step's own stand beside it.
 */
export class StepSeries {
  readonly #names: string[] = ["step"];
  readonly #columns: Column[] = [new Float64Array(FIRST_ROWS)];
  readonly #places = new Map<string, number>([["step", 0]]);
  #values = new Float64Array(16).fill(NaN);
  #length = 0;
  #capacity = FIRST_ROWS;
  #cuts = 0;
  readonly #repeats: boolean;

  constructor(options: { repeats?: boolean } = {}) {
    this.#repeats = options.repeats ?? false;
  }

  /** Rows. */
  get length(): number {
    return this.#length;
  }

  /** Times that rows were taken away. */
  get cuts(): number {
    return this.#cuts;
  }

  /** Names of the columns, `step` first. */
  get names(): readonly string[] {
    return this.#names;
  }

  /** The row that {@linkcode append} adds, by {@linkcode column}. */
  get values(): Float64Array {
    return this.#values;
  }

  /** Step of the last row, 0 before the first. */
  get lastStep(): number {
    return this.#length === 0 ? 0 : this.#columns[0]![this.#length - 1]!;
  }

  /** Place of a column, made where it is new: its earlier rows hold NaN. */
  column(name: string): number {
    const found = this.#places.get(name);
    if (found !== undefined) return found;
    const place = this.#names.length;
    this.#names.push(name);
    this.#places.set(name, place);
    const column = DOUBLE.has(name)
      ? new Float64Array(this.#capacity)
      : new Float32Array(this.#capacity);
    this.#columns.push(column.fill(NaN));
    if (place >= this.#values.length) {
      const larger = new Float64Array(2 * this.#values.length).fill(NaN);
      larger.set(this.#values);
      this.#values = larger;
    }
    return place;
  }

  /** A column's rows, `null` where no record had it. Valid until the next row. */
  get(name: string): Column | null {
    const place = this.#places.get(name);
    return place === undefined ? null : this.#columns[place]!.subarray(0, this.#length);
  }

  /** A row's value in the column at `place`. */
  at(place: number, row: number): number {
    return this.#columns[place]![row]!;
  }

  /** Puts a value in a row that there is. */
  put(place: number, row: number, value: number): void {
    this.#columns[place]![row] = value;
  }

  /** Adds the row in {@linkcode values}; a row without a step is left out. */
  append(): void {
    const step = this.#values[0]!;
    if (!Number.isFinite(step)) return;
    if (this.#length > 0 && step <= this.lastStep) this.cutFrom(this.#repeats ? step + 1 : step);
    if (this.#length === this.#capacity) this.#grow();
    for (let i = 0; i < this.#columns.length; i++) {
      this.#columns[i]![this.#length] = this.#values[i]!;
    }
    this.#length++;
  }

  /** Takes away the rows of `step` and later ones. */
  cutFrom(step: number): void {
    const length = this.indexOf(step);
    if (length === this.#length) return;
    this.#length = length;
    this.#cuts++;
  }

  /** First row whose step is at least `step`; {@linkcode length} where there is none. */
  indexOf(step: number): number {
    const steps = this.#columns[0]!;
    let [low, high] = [0, this.#length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (steps[middle]! < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #grow(): void {
    this.#capacity *= 2;
    this.#columns.forEach((column, index) => {
      const larger = column instanceof Float64Array
        ? new Float64Array(this.#capacity)
        : new Float32Array(this.#capacity);
      larger.set(column);
      this.#columns[index] = larger;
    });
  }
}
