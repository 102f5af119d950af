/**
 * Token ids from a caller, checked before they reach the embedding.
 *
 * @module
 */

/** One sequence, or several of equal length. */
export type TokenIds = ArrayLike<number> | readonly ArrayLike<number>[];

/** Checked ids, row-major. */
export interface TokenBatch {
  readonly sequences: number;
  readonly tokens: number;
  readonly values: Int32Array<ArrayBuffer>; // (sequences * tokens)
}

/**
 * Checks and flattens ids. With `shape` they must have that shape; with `ignore`, negative ids are let through.
 *
 * Throws `RangeError` naming the sequence and position of what does not fit.
 */
export function asTokenBatch(
  ids: TokenIds,
  vocabSize: number,
  options: {
    name: string;
    shape?: { sequences: number; tokens: number };
    ignore?: boolean;
  },
): TokenBatch {
  const { name, shape } = options;
  const rows = isNested(ids) ? ids : [ids];
  const tokens = rows[0]?.length ?? 0;
  if (tokens === 0) throw new RangeError(`Cannot run the model as ${name} is empty`);
  if (shape !== undefined && (shape.sequences !== rows.length || shape.tokens !== tokens)) {
    throw new RangeError(
      `Cannot run the model as ${name} must have the shape of ids, (${shape.sequences}, ${shape.tokens}): current shape is (${rows.length}, ${tokens})`,
    );
  }
  const values = new Int32Array(rows.length * tokens);
  for (const [sequence, row] of rows.entries()) {
    if (row.length !== tokens) {
      throw new RangeError(
        `Cannot run the model as the sequences of ${name} must be equally long: sequence 0 has ${tokens} tokens, sequence ${sequence} has ${row.length}`,
      );
    }
    for (let position = 0; position < tokens; position++) {
      const id = row[position]!;
      const ignored = options.ignore === true && id < 0;
      if (!Number.isInteger(id) || id >= vocabSize || (id < 0 && !ignored)) {
        throw new RangeError(
          `Cannot run the model as ${name} must be token ids from 0 to ${
            vocabSize - 1
          }: sequence ${sequence}, position ${position} is ${id}`,
        );
      }
      values[sequence * tokens + position] = id;
    }
  }
  return { sequences: rows.length, tokens, values };
}

/**
 * Targets for labels: position t predicts label t + 1, the last position predicts nothing (-1). `count` is how many predict.
 */
export function shiftLabels(
  labels: TokenBatch,
): { targets: Int32Array<ArrayBuffer>; count: number } {
  const { sequences, tokens, values } = labels;
  const targets = new Int32Array(values.length).fill(-1);
  let count = 0;
  for (let sequence = 0; sequence < sequences; sequence++) {
    for (let position = 0; position + 1 < tokens; position++) {
      const label = values[sequence * tokens + position + 1]!;
      if (label < 0) continue;
      targets[sequence * tokens + position] = label;
      count++;
    }
  }
  return { targets, count };
}

function isNested(ids: TokenIds): ids is readonly ArrayLike<number>[] {
  return Array.isArray(ids) && ids.length > 0 && typeof ids[0] === "object";
}
