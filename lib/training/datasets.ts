/**
 * The token files of a run.
 *
 * @module
 */

import type { DataConfig } from "../config/run_config.ts";
import { DataError } from "../data/errors.ts";
import { TokenDataset } from "../data/shards.ts";
import type { NativeLibrary } from "../ffi/library.ts";

/** Opens what a run trains and validates on, owned by `resources`. Throws `DataError` for what can't be. */
export function openDatasets(
  data: DataConfig,
  options: {
    resources: DisposableStack;
    library: NativeLibrary;
    vocabSize: number;
    tokenizerHash: string | null;
  },
): { train: TokenDataset; validation: TokenDataset | null } {
  const { resources, ...rest } = options;
  const shared = { ...rest, tokenizerPath: data.tokenizer };
  const train = resources.use(
    TokenDataset.open(data.train, { ...shared, key: "data.train", advice: "random" }),
  );
  const validation = data.validation === null
    ? null
    : resources.use(TokenDataset.open(data.validation, { ...shared, key: "data.validation" }));
  if (validation !== null && validation.tokenCount < 2) {
    throw new DataError(
      `Cannot validate on ${data.validation} (data.validation) as it must hold at least 2 tokens: current count is ${validation.tokenCount}`,
      { path: data.validation! },
    );
  }
  return { train, validation };
}
