/** Small random models, and checkpoints of them, for the tests of running models. */

import { BYTE_CHARACTERS } from "../../lib/tokenizer/byte_alphabet.ts";
import { saveCheckpoint } from "../../lib/checkpoint/save.ts";
import type { SpecialTokens } from "../../lib/interop/huggingface.ts";
import { BitNetConfig, type BitNetConfigOptions } from "../../lib/model/config.ts";
import type { BitNetTransformer } from "../../lib/model/transformer.ts";

/** A grouped-query model of a few thousand parameters, with weights large enough for decided answers. */
export function tinyConfig(options: Partial<BitNetConfigOptions> = {}): BitNetConfig {
  return new BitNetConfig({
    vocabSize: 101,
    hiddenSize: 24,
    numLayers: 2,
    numHeads: 4,
    numKvHeads: 2,
    intermediateSize: 40,
    maxSeqLen: 48,
    initStd: 0.3,
    ...options,
  });
}

/** Saves a model as step `step` of a run; returns the checkpoint's folder. */
export async function saveModel(
  runFolder: string,
  model: BitNetTransformer,
  options: {
    step?: number;
    tokenizerJson?: Uint8Array | null;
    runConfig?: string;
    specialTokens?: SpecialTokens;
  } = {},
): Promise<string> {
  const { step = 7, tokenizerJson = null, runConfig = "training:\n  seq_len: 32\n" } = options;
  const { path } = await saveCheckpoint(runFolder, {
    step,
    model: model.config,
    parameters: model.parameters.all.map(({ name, shape, value }) => ({
      name,
      shape,
      dtype: "F32" as const,
      read(into, byteOffset) {
        value.device.download(into as Uint8Array<ArrayBuffer>, value.address + BigInt(byteOffset));
      },
    })),
    optimizer: [],
    state: { step, tokens: 64 * step },
    runConfig,
    tokenizerJson,
    ...(options.specialTokens !== undefined && { specialTokens: options.specialTokens }),
  });
  return path;
}

/** Ids of the tokens of {@linkcode byteTokenizerJson}: each byte's own, then the end of a document. */
export const END_ID = 256;
export const BYTE_VOCAB = 257;

/** A tokenizer.json whose tokens are the 256 bytes, and `<|endoftext|>`; where `starts`, texts begin with that, too. */
export function byteTokenizerJson({ starts = false } = {}): Uint8Array {
  const vocab: Record<string, number> = {};
  for (let byte = 0; byte < 256; byte++) vocab[BYTE_CHARACTERS[byte]!] = byte;
  const added = {
    id: END_ID,
    content: "<|endoftext|>",
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  };
  const pieces = { add_prefix_space: false, trim_offsets: true, use_regex: true };
  return new TextEncoder().encode(JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [added],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", ...pieces },
    post_processor: !starts ? null : {
      type: "TemplateProcessing",
      single: [
        { SpecialToken: { id: "<|endoftext|>", type_id: 0 } },
        { Sequence: { id: "A", type_id: 0 } },
      ],
      pair: [],
      special_tokens: {
        "<|endoftext|>": { id: "<|endoftext|>", ids: [END_ID], tokens: ["<|endoftext|>"] },
      },
    },
    decoder: { type: "ByteLevel", ...pieces },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: { ...vocab, "<|endoftext|>": END_ID },
      merges: [],
    },
  }));
}

/** Runs `body` with a fresh folder that is removed afterwards. */
export async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "titanbit_inference_" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
