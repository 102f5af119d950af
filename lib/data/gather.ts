/**
 * Copies token windows out of mapped files, checking every id on the way.
 *
 * @module
 */
import { NativeError, statusName } from "../ffi/errors.ts";
import type { TokenFileLibrary } from "../ffi/mapping.ts";
import { DataError } from "./errors.ts";
import type { TokenWindow } from "./shards.ts";

const INVALID_ARGUMENT = 1;
const IO = 5;

/** Inputs and what they should predict, for B windows of T tokens. */
export interface TokenBatch {
  /** (B, T) */
  ids: Int32Array;
  /** (B, T): `ids` one token later. */
  targets: Int32Array;
}

/** Reusable copier of up to `capacity` windows a call; makes no garbage. */
export class WindowGatherer {
  readonly #library: TokenFileLibrary;
  readonly #vocabSize: bigint;
  readonly #addresses: BigUint64Array<ArrayBuffer>;
  readonly #widths: Int32Array<ArrayBuffer>;
  readonly #bad = new BigInt64Array(3);

  constructor(library: TokenFileLibrary, options: { capacity: number; vocabSize: number }) {
    this.#library = library;
    this.#vocabSize = BigInt(options.vocabSize);
    this.#addresses = new BigUint64Array(options.capacity);
    this.#widths = new Int32Array(options.capacity);
  }

  /**
   * Fills `ids` (B, T) and `targets` (B, T) with `tokens` = T + 1 tokens of each window. Where `targets` is `null`,
   * T tokens of each window are read.
   *
   * @throws {DataError} On an id outside the vocabulary, naming its file and token, and on a file that can't be read any more;
   *   the arrays are then not to be used.
   */
  gather(
    windows: readonly TokenWindow[],
    batch: { ids: Int32Array; targets: Int32Array | null; tokens: number },
  ): void {
    const { ids, targets, tokens } = batch;
    const needed = windows.length * tokens;
    if (ids.length < needed || (targets !== null && targets.length < needed)) {
      throw new RangeError(
        `Cannot fill a batch of ${windows.length} windows of ${tokens} tokens as its arrays need ${needed} ` +
          `elements: current lengths are ${ids.length} and ${targets?.length ?? "none"}`,
      );
    }
    for (let b = 0; b < windows.length; b++) {
      const window = windows[b]!;
      if (!window.shard.mapping.isOpen) {
        throw new TypeError(`Cannot read ${window.shard.path} as its data set is closed`);
      }
      this.#addresses[b] = window.address;
      this.#widths[b] = window.width;
    }
    const status = this.#library.symbols.tb_gather_windows(
      this.#addresses,
      this.#widths,
      BigInt(windows.length),
      BigInt(tokens),
      this.#vocabSize,
      ids as Int32Array<ArrayBuffer>,
      targets as Int32Array<ArrayBuffer> | null,
      this.#bad,
    );
    if (status === INVALID_ARGUMENT) {
      const [window, position, token] = Array.from(this.#bad, Number);
      throw badToken(windows[window!]!, {
        position: position!,
        token: token!,
        vocabSize: Number(this.#vocabSize),
      });
    }
    if (status === IO) throw unreadable(windows[Number(this.#bad[0])]!);
    if (status !== 0) {
      throw new NativeError(`Cannot copy token windows: ${statusName(status)}`, {
        status: statusName(status),
        op: "tb_gather_windows",
      });
    }
  }
}

/** The error for an id outside the vocabulary at a position of a window. */
function badToken(
  window: TokenWindow,
  found: { position: number; token: number; vocabSize: number },
): DataError {
  const { path, info } = window.shard;
  const offset = window.offset + found.position;
  const byte = info.dataOffset + offset * info.tokenWidth;
  return new DataError(
    `Cannot use ${path} as token ${offset} (byte ${byte}) must be below the vocabulary size ` +
      `${found.vocabSize}: current value is ${found.token}. The file is damaged or of another vocabulary: ` +
      "tokenize again or set model.vocab_size",
    { path },
  );
}

/** The error for a window whose bytes the file no longer has, or its disk no longer gives. */
function unreadable({ shard: { path, info }, offset }: TokenWindow): DataError {
  let found: string;
  try {
    const { size } = Deno.statSync(path);
    const expected = info.dataOffset + info.tokenCount * info.tokenWidth;
    found = size < expected
      ? `it has ${size} of the ${expected} bytes that it had when it was opened`
      : "its disk does not give them";
  } catch {
    found = "it is no longer there";
  }
  const byte = info.dataOffset + offset * info.tokenWidth;
  return new DataError(
    `Cannot read ${path} as its tokens from byte ${byte} on must stay readable: ${found}. ` +
      "Restore the file (a token file in use is replaced by a rename, never rewritten)",
    { path },
  );
}
