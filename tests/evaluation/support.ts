/** Data and models for the tests of this room. */

import { TokenDataset } from "../../lib/data/shards.ts";
import type { Device } from "../../lib/ffi/device.ts";
import { BitNetTransformer } from "../../lib/model/transformer.ts";
import { tokenizerFromJson } from "../../lib/tokenizer/tokenizer.ts";
import { writeTokens } from "../data/support.ts";
import { openCpu } from "../support/devices.ts";
import { byteTokenizerJson, tinyConfig, withFolder } from "../inference/support.ts";

/** Runs `body` with an unquantised model of the byte vocabulary, whose results do not jump with rounding. */
export function withModel(
  body: (context: { model: BitNetTransformer; device: Device; folder: string }) => unknown,
): Promise<void> {
  return withFolder(async (folder) => {
    using device = openCpu({ threads: 1 });
    const config = tinyConfig({ vocabSize: 257, quantization: "none", initStd: 0.1 });
    using model = BitNetTransformer.create(config, { device, training: false, seed: 8 });
    await body({ model, device, folder });
  });
}

/** The byte tokenizer of the tests. */
export function byteTokenizer() {
  return tokenizerFromJson(byteTokenizerJson());
}

/** A data set of one file of these ids, of a vocabulary of 257. */
export function datasetOf(
  ids: readonly number[],
  options: { device: Device; folder: string },
): TokenDataset {
  const path = writeTokens(`${options.folder}/${ids.length}.tokens`, { ids, vocabSize: 257 });
  return TokenDataset.open(path, { library: options.device.library, vocabSize: 257 });
}
