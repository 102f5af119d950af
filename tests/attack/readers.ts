/**
 * Everything that reads what a stranger may have written, from memory: its name, inputs that it takes, and the
 * errors that it may throw.
 */

import { crc32 } from "node:zlib";
import { formatChecksums, parseChecksums } from "../../lib/checkpoint/checksums.ts";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { parseRunConfigYaml } from "../../lib/checkpoint/run_config_yaml.ts";
import { decodeState, encodeState } from "../../lib/checkpoint/state_json.ts";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseRunConfig } from "../../lib/config/load.ts";
import { parseFaults } from "../../lib/config/load_faults.ts";
import { type PlainMapping, runConfigToJson, runConfigToYaml } from "../../lib/config/print.ts";
import { DataError } from "../../lib/data/errors.ts";
import {
  decodeHeader,
  encodeHeader as encodeTokenHeader,
  HEADER_BYTES,
} from "../../lib/data/token_format.ts";
import { InteropError } from "../../lib/interop/errors.ts";
import {
  formatHuggingFaceConfig,
  parameterShapes,
  parseHuggingFaceConfig,
} from "../../lib/interop/huggingface.ts";
import { parseIndex } from "../../lib/interop/model_files.ts";
import {
  encodeHeader,
  parseHeader,
  parsePrefix,
  PREFIX_BYTES,
} from "../../lib/interop/safetensors_header.ts";
import { decodeRecord } from "../../lib/metrics/records.ts";
import { BitNetConfig } from "../../lib/model/config.ts";
import { NEW_STABILITY_STATE } from "../../lib/stability/state.ts";
import { TokenizerError } from "../../lib/tokenizer/errors.ts";
import { hideSpecials, modelSpells } from "../../lib/tokenizer/hide_specials.ts";
import { writeNativeSpec } from "../../lib/tokenizer/native_spec.ts";
import { parseStartToken, startIdsOf } from "../../lib/tokenizer/start_of_text.ts";
import { parseTokenizerJson, planNative } from "../../lib/tokenizer/tokenizer_json.ts";
import { readVocabulary } from "../../lib/tokenizer/vocabulary.ts";
import { changedSettings } from "../../lib/training/changed_settings.ts";
import { parseLoopState } from "../../lib/training/loop_state.ts";
import { smallJson } from "../tokenizer/small_files.ts";

/** A reader under attack. */
export interface Reader {
  readonly name: string;
  /** Inputs that it takes: mutations begin there. */
  readonly seeds: readonly Uint8Array[];
  /** Classes of its errors. @default none: it never throws */
  // deno-lint-ignore no-explicit-any -- any error's constructor
  readonly errors?: readonly (new (...args: any[]) => Error)[];
  read(bytes: Uint8Array): unknown;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const texts = (...seeds: string[]) => seeds.map((seed) => encoder.encode(seed));
const json = (...seeds: unknown[]) => texts(...seeds.map((seed) => JSON.stringify(seed)));

const MODEL = new BitNetConfig({ vocabSize: 64, hiddenSize: 16, numLayers: 2, numHeads: 2 });
const RUN = `model: {hidden_size: 64, num_layers: 2, num_heads: 2}
data: {train: [a.tokens, b.tokens]}
training:
  steps: 100
  batch_sequences: 8
optimizer: {lr: 1e-3, betas: [0.9, 0.95], lr_factors: {embeddings: 0.5}}
logging: {prometheus: 127.0.0.1:9464}
`;
const DETECTORS = { lossEma: { value: 2.5, count: 9 }, losses: [2, 3], gradNorms: [] };
const STATE = {
  ...{ step: 5, tokens: 50, updates: 4, skipped: 1 },
  sampler: { seed: 1, epoch: 2, position: 3, windowCount: 10 },
  stability: {
    ...NEW_STABILITY_STATE,
    detectors: DETECTORS,
    recovery: { factor: 0.5, calmSteps: 2 },
    snapshots: [{
      ...{ step: 5, tokens: 50, updates: 4, skipped: 1, window: 40, calm: 2, returns: 1 },
      ...{ disk: true, detectors: DETECTORS },
    }],
  },
  odd: [NaN, -0, 12n],
};
const TEMPLATE = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }],
  special_tokens: { "<s>": { ids: [0] } },
};

function tensors(): Uint8Array {
  const { bytes } = encodeHeader([
    { name: "a", dtype: "F32", shape: [2, 3] },
    { name: "b", dtype: "BF16", shape: [] },
  ], { format: "pt" });
  const file = new Uint8Array(bytes.length + 26);
  file.set(bytes);
  return file;
}

const TOKENS = encodeTokenHeader({
  ...{ tokenWidth: 2, vocabSize: 64, tokenCount: 100, documentCount: 3, endOfDocumentId: 1 },
  ...{ startIds: [0], tokenizerHash: "ab".repeat(32) },
});

function readTokens(head: Uint8Array): unknown {
  return decodeHeader(head.slice(0, HEADER_BYTES), {
    path: "a.tokens",
    bytes: head.length === HEADER_BYTES ? HEADER_BYTES + 200 : head.length,
  });
}

function readTokenizer(bytes: Uint8Array): void {
  const file = "tokenizer.json";
  const parsed = parseTokenizerJson(bytes, file);
  const vocabulary = readVocabulary(parsed, file);
  startIdsOf(parsed.post_processor, { vocabSize: vocabulary.size, file });
  const specials = new Set(
    [...vocabulary.specialIds].flatMap((id) => vocabulary.names[id] ?? []),
  );
  modelSpells(parsed, specials);
  const hidden = { ...parsed, ...hideSpecials(parsed, specials) };
  const plan = planNative(hidden);
  if ("unsupported" in plan) return;
  writeNativeSpec({
    ...{ plan, specials, file },
    json: hidden,
    vocabulary: readVocabulary(hidden, file),
  });
}

/** The readers. A new one that reads from a disk or a network belongs here. */
export const READERS: readonly Reader[] = [
  {
    name: "trainer_state.json",
    seeds: texts(encodeState(STATE)),
    errors: [CheckpointError],
    read: (bytes) => parseLoopState(decodeState(bytes), "step_5"),
  },
  {
    name: "checksums.json",
    seeds: texts(formatChecksums(
      new Map([["config.json", { bytes: 12, sha256: "0a".repeat(32) }]]),
    )),
    errors: [CheckpointError],
    read: (bytes) => parseChecksums(decoder.decode(bytes), "checksums.json"),
  },
  {
    name: "config.json",
    seeds: texts(
      formatHuggingFaceConfig(MODEL),
      formatHuggingFaceConfig(MODEL, { bosTokenId: 1, eosTokenId: [2, 3], padTokenId: null }, {
        ownLayers: ["projection"],
        ownParameters: [{ name: "scale", shape: [3], group: "scales" }],
      }),
    ),
    errors: [InteropError],
    read: (bytes) => parameterShapes(parseHuggingFaceConfig(bytes, "config.json").config),
  },
  {
    name: "model.safetensors.index.json",
    seeds: json({ metadata: {}, weight_map: { a: "m-1.safetensors", b: "m-2.safetensors" } }),
    errors: [InteropError],
    read: (bytes) => parseIndex(bytes, "model.safetensors.index.json"),
  },
  {
    name: "header of model.safetensors",
    seeds: [tensors()],
    errors: [InteropError],
    read: (bytes) => {
      const path = "model.safetensors";
      const length = parsePrefix(bytes.subarray(0, PREFIX_BYTES), {
        path,
        fileBytes: bytes.length,
      });
      const end = PREFIX_BYTES + length;
      parseHeader(bytes.subarray(PREFIX_BYTES, end), { path, dataBytes: bytes.length - end });
    },
  },
  {
    name: "JSON in a header of model.safetensors",
    seeds: [tensors().slice(PREFIX_BYTES, -26)],
    errors: [InteropError],
    read: (bytes) => parseHeader(bytes, { path: "model.safetensors", dataBytes: 26 }),
  },
  {
    name: "tokenizer.json",
    seeds: json(
      ...["byte_level", "normalizer", "always"].map((kind) => ({
        ...smallJson(kind, [{ content: "<s>", special: true, lstrip: true, normalized: false }]),
        post_processor: TEMPLATE,
      })),
      {
        added_tokens: [],
        model: { type: "Unigram", vocab: [["<unk>", 0], ["a", -1.5]], unk_id: 0 },
      },
    ),
    errors: [TokenizerError],
    read: readTokenizer,
  },
  {
    name: "tokenizer_config.json",
    seeds: json(
      { add_bos_token: true, bos_token: "<s>" },
      { add_bos_token: true, bos_token: { content: "<s>" } },
    ),
    errors: [TokenizerError],
    read: (bytes) => parseStartToken(bytes),
  },
  {
    name: "YAML of a run",
    seeds: texts(RUN),
    errors: [ConfigError],
    read: (bytes) => {
      const { config, defaults } = parseRunConfig(decoder.decode(bytes), { file: "run.yaml" });
      runConfigToYaml(config, { defaults });
    },
  },
  {
    name: "assignments of --set",
    seeds: texts("optimizer.betas=[0.9, 0.95]", "training.steps=100", "model.size=125M"),
    errors: [ConfigError],
    read: (bytes) => parseRunConfig(RUN, { file: "run.yaml", set: [decoder.decode(bytes)] }),
  },
  {
    name: "config.yaml of a checkpoint",
    seeds: texts(RUN),
    errors: [CheckpointError],
    read: (bytes) => {
      const before = parseRunConfigYaml(decoder.decode(bytes), "config.yaml");
      if (typeof before !== "object" || before === null) return;
      const { config } = parseRunConfig(RUN, { file: "run.yaml" });
      changedSettings(before as PlainMapping, runConfigToJson(config));
    },
  },
  {
    name: "faults of --inject",
    seeds: texts(
      "- {kind: loss, steps: [40, 60], factor: 50}\n",
      '[{"kind": "stalled_read", "steps": 95, "ms": 500}]',
    ),
    errors: [ConfigError],
    read: (bytes) => parseFaults(decoder.decode(bytes), "faults.yaml"),
  },
  {
    name: "a line of metrics.jsonl",
    seeds: json({ type: "step", step: 3, loss: 2.5 }, { type: "event", step: 1, name: "x" }),
    read: (bytes) => decodeRecord(decoder.decode(bytes)),
  },
  {
    name: "head of a token file",
    seeds: [TOKENS],
    errors: [DataError],
    read: readTokens,
  },
  {
    name: "head of a token file whose checksum fits",
    seeds: [TOKENS],
    errors: [DataError],
    read: (bytes) => {
      const head = bytes.slice();
      if (head.length >= HEADER_BYTES) {
        new DataView(head.buffer).setUint32(
          HEADER_BYTES - 4,
          crc32(head.subarray(0, HEADER_BYTES - 4)),
          true,
        );
      }
      return readTokens(head);
    },
  },
];
