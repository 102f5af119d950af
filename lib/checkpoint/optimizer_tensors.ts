/**
 * The tensors of a checkpoint's `optimizer.safetensors`, for each way in which AdamW keeps its moments.
 *
 * @module
 */

import type { SafetensorsDtype, TensorSpec } from "../interop/safetensors_header.ts";

/** What the moments of projections are kept in; `optimizer.state` of a run. */
export type OptimizerState = "fp32" | "bf16" | "int8";

/** A tensor of a model. */
export interface ModelTensor extends TensorSpec {
  /**
   * What the optimizer treats it with. @default by its name and shape, as BitNet's own parameters
   */
  readonly group?: string;
}

const DTYPES: Record<OptimizerState, SafetensorsDtype> = { fp32: "F32", bf16: "BF16", int8: "U8" };
const MOMENTS = ["exp_avg", "exp_avg_sq"] as const;
const BLOCK = 256; // elements that share a scale

/**
 * The tensors beside a model's parameters: `<parameter>.exp_avg` and `<parameter>.exp_avg_sq` in each parameter's shape.
 *
 * Projections are as `state` says, all others F32. Codes (U8) have their scales in
 * `optimizer.projections.exp_avg.absmax` and `.exp_avg_sq.absmax`, F32, one for each 256 elements
 * of all projections end to end.
 */
export function optimizerTensors(
  parameters: Iterable<ModelTensor>,
  state: OptimizerState = "fp32",
): TensorSpec[] {
  const specs: TensorSpec[] = [];
  let projected = 0;
  for (const parameter of parameters) {
    const { name, shape } = parameter;
    const projection = isProjection(parameter);
    if (projection) projected += shape.reduce((product, size) => product * size, 1);
    const dtype = projection ? DTYPES[state] : "F32";
    for (const moment of MOMENTS) specs.push({ name: `${name}.${moment}`, shape, dtype });
  }
  if (state === "int8") {
    const shape = [Math.ceil(projected / BLOCK)];
    for (const moment of MOMENTS) {
      specs.push({ name: `optimizer.projections.${moment}.absmax`, shape, dtype: "F32" });
    }
  }
  return specs;
}

/** What the moments among a file's tensors are kept in, going by those that are not float32. */
export function optimizerState(tensors: Iterable<TensorSpec>): OptimizerState {
  for (const { dtype } of tensors) {
    if (dtype === DTYPES.int8) return "int8";
    if (dtype === DTYPES.bf16) return "bf16";
  }
  return "fp32";
}

/** Of BitNet's own, matrices but for the embedding and the head. */
function isProjection({ name, shape, group }: ModelTensor): boolean {
  if (group !== undefined) return group === "projections";
  return shape.length === 2 && name !== "model.embed_tokens.weight" && name !== "lm_head.weight";
}
