/**
 * What a record read from a file must look like before anything relies on it. Fields that are new to this version are let through.
 *
 * @module
 */

import * as z from "zod";
import type { MetricsRecord } from "./records.ts";

/** A number, null where it wasn't finite, or absent from an older file. */
const figure = z.number().nullish();
const text = z.string();
const count = z.int().min(0);
const figures = z.array(z.number().nullable()).nullish();
const base = { step: count };

const ternary = z.looseObject({
  ...{ ...base, layers: count },
  ...{ matrices: z.array(text), inputs: z.array(text), zero: z.array(z.number().nullable()) },
  ...{ minus: figures, plus: figures, flipped: figures, beta: figures, near: figures },
  ...{ gamma_mean: figures, gamma_max: figures, input_zero: figures, input_clipped: figures },
}).refine(({ layers, matrices, inputs, zero }) =>
  // Room is made by these numbers: they are bounded by what the record holds.
  zero.length === layers * matrices.length && inputs.length <= matrices.length
);

const stability = z.discriminatedUnion("event", [
  z.looseObject({
    ...{ ...base, event: z.literal("spike"), detector: text, answer: text },
    ...{ loss: figure, grad_norm: figure, score: figure, threshold: figure },
  }),
  z.looseObject({
    ...{ ...base, event: z.literal("rollback"), to_step: count, undone_steps: count, place: text },
    ...{ window_from: z.number(), window_to: z.number(), lr_factor: z.number() },
    ...{ rollbacks: z.number(), max_rollbacks: z.number() },
  }),
  z.looseObject({ ...base, event: z.literal("recovered") }),
  z.looseObject({
    ...{ ...base, event: z.literal("new_level"), detector: text, from: figure, to: z.number() },
  }),
  z.looseObject({ ...base, event: z.literal("gave_up"), reason: text }),
]);

const SHAPES: Readonly<Record<MetricsRecord["type"], z.ZodType>> = {
  run: z.looseObject({
    ...{ ...base, run: text, device: text, version: text, time: text },
    ...{ parameters: z.number(), tokens_per_step: z.number(), steps: z.number() },
    undone_steps: count.optional(),
  }),
  step: z.looseObject(base),
  validation: z.looseObject({ ...base, loss: figure, perplexity: figure, bits_per_byte: figure }),
  ternary,
  sample: z.looseObject({ ...base, prompt: text, text, error: text.nullable() }),
  checkpoint: z.looseObject({
    ...{ ...base, path: text, write_ms: z.number(), size_bytes: z.number() },
    error: text.nullable(),
  }),
  stability,
  machine: z.looseObject({ ...base, gpu_throttle_reasons: z.array(text).nullish() }),
  event: z.looseObject({ ...base, event: text, message: text }),
};

/** Whether a value is a record of a kind that this version knows. */
export function isRecord(value: unknown): value is MetricsRecord {
  if (typeof value !== "object" || value === null || !("type" in value)) return false;
  const { type } = value;
  if (typeof type !== "string" || !Object.hasOwn(SHAPES, type)) return false;
  return SHAPES[type as MetricsRecord["type"]].safeParse(value).success;
}
