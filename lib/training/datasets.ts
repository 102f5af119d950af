/**
 * The token files of a run, and the tokenizer that they were made with.
 *
 * @module
 */

import type { DataConfig } from "../config/run_config.ts";
import { DataError } from "../data/errors.ts";
import { describeStart, requireSameStart, sameIds, TokenDataset } from "../data/shards.ts";
import type { NativeLibrary } from "../ffi/library.ts";
import { TokenizerError } from "../tokenizer/errors.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";

/** Loads `data.tokenizer`, null where there is none. Throws `TokenizerError` where it can't be, or has ids that the model lacks. */
export async function openTokenizer(
  data: DataConfig,
  options: { resources: DisposableStack; vocabSize: number },
): Promise<Tokenizer | null> {
  const file = data.tokenizer;
  if (file === null) return null;
  const tokenizer = options.resources.use(await loadConfigured(file));
  if (tokenizer.vocabSize <= options.vocabSize) return tokenizer;
  throw new TokenizerError(
    `Cannot train with the tokenizer ${file} (data.tokenizer) as it has ${tokenizer.vocabSize} ids: model.vocab_size must be as many at ` +
      `least, current value is ${options.vocabSize}`,
    { file },
  );
}

async function loadConfigured(file: string): Promise<Tokenizer> {
  try {
    return await loadTokenizer(file);
  } catch (error) {
    if (!(error instanceof TokenizerError)) throw error;
    throw new TokenizerError(`${error.message} in data.tokenizer`, { file, cause: error });
  }
}

/**
 * Opens what a run trains and validates on, owned by `resources`. Warns where documents begin otherwise than the tokenizer begins
 * a text: the model learns what is there, and its prompts begin like that.
 *
 * Throws `DataError` for what can't be opened, and where documents begin differently in the two.
 */
export function openDatasets(
  data: DataConfig,
  options: {
    resources: DisposableStack;
    library: NativeLibrary;
    vocabSize: number;
    tokenizer: Tokenizer | null;
    warn: (message: string) => void;
  },
): { train: TokenDataset; validation: TokenDataset | null } {
  const { resources, tokenizer, warn, ...rest } = options;
  const shared = {
    ...rest,
    tokenizerHash: tokenizer?.hash ?? null,
    tokenizerPath: data.tokenizer,
  };
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
  if (validation !== null) {
    const { startIds } = validation;
    requireSameStart(String(data.train), train.startIds, { path: data.validation!, startIds });
  }
  if (
    tokenizer !== null && train.startIds !== null && !sameIds(train.startIds, tokenizer.startIds)
  ) {
    warn(
      `The documents of ${data.train} (data.train) begin with ${
        describeStart(train.startIds)
      } while ${data.tokenizer} puts ${
        describeStart(tokenizer.startIds)
      } before a text: the model's prompts will begin as the documents do. Tokenize the text again to have both by the tokenizer's rule`,
    );
  }
  return { train, validation };
}
