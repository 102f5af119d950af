/**
 * The named model sizes: data only, built into a `BitNetConfig` by who needs one.
 *
 * Hidden sizes, layers and heads are those of the BitNet b1.58 papers. The feed-forward width is a multiple of 256
 * that keeps the parameter count, with 32,000 tokens and tied embeddings, within 8% of the name.
 *
 * @module
 */

import type { BitNetConfigOptions } from "./config.ts";

/** Shape of a named size; vocabulary, context and the rest keep `BitNetConfig`'s defaults. */
export type ModelPreset =
  & Required<
    Pick<
      BitNetConfigOptions,
      "hiddenSize" | "numLayers" | "numHeads" | "numKvHeads" | "intermediateSize"
    >
  >
  & { /** Parameters that the name promises. */ nominalParameters: number };

/** The sizes by name, smallest first. */
export const MODEL_PRESETS = {
  // hidden, layers, heads (head_dim), MLP width: parameters with V = 32000, tied
  "125M": { // 123.7M; 8/3 of the hidden size, 2048, would only make 109.5M
    hiddenSize: 768,
    numLayers: 12,
    numHeads: 12, // 64
    numKvHeads: 12,
    intermediateSize: 2560,
    nominalParameters: 125e6,
  },
  "350M": { // 341.1M
    hiddenSize: 1024,
    numLayers: 24,
    numHeads: 16, // 64
    numKvHeads: 16,
    intermediateSize: 2816,
    nominalParameters: 350e6,
  },
  "700M": { // 728.8M
    hiddenSize: 1536,
    numLayers: 24,
    numHeads: 24, // 64
    numKvHeads: 24,
    intermediateSize: 4096,
    nominalParameters: 700e6,
  },
  "1.3B": { // 1.299B; the papers' 5460 rounded up to 256
    hiddenSize: 2048,
    numLayers: 24,
    numHeads: 32, // 64
    numKvHeads: 32,
    intermediateSize: 5632,
    nominalParameters: 1.3e9,
  },
  "3B": { // 3.212B; the papers' 8640 would make 3.33B, 11% above the name
    hiddenSize: 3200,
    numLayers: 26,
    numHeads: 32, // 100
    numKvHeads: 32,
    intermediateSize: 8192,
    nominalParameters: 3e9,
  },
} as const satisfies Record<string, ModelPreset>;

/** Name of a preset. */
export type PresetName = keyof typeof MODEL_PRESETS;

/** The names, smallest first. */
export const PRESET_NAMES: readonly PresetName[] = Object.keys(MODEL_PRESETS) as PresetName[];

/** The preset name that `text` writes in any case (`1.3b`), or `undefined`. */
export function findPresetName(text: string): PresetName | undefined {
  return PRESET_NAMES.find((name) => name.toLowerCase() === text.trim().toLowerCase());
}

/** The fields of `BitNetConfig` that a preset fixes. */
export function presetOptions(name: PresetName): BitNetConfigOptions {
  const { nominalParameters: _, ...options } = MODEL_PRESETS[name];
  return options;
}
