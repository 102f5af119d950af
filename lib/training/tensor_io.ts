/**
 * Moments of a model as the tensors of a checkpoint.
 *
 * @module
 */

import { type NamedTensor, namedTensor } from "../checkpoint/parameter_tensors.ts";
import type { ParameterStore } from "../model/parameters.ts";
import type { AdamW } from "../optim/adamw.ts";

/**
 * AdamW's moments: `<parameter>.exp_avg` and `<parameter>.exp_avg_sq` in each parameter's shape, F32, BF16 or U8 codes. The scales
 * of codes run over a whole group: `optimizer.<group>.exp_avg.absmax` and `.exp_avg_sq.absmax`.
 */
export function optimizerTensors(parameters: ParameterStore, optimizer: AdamW): NamedTensor[] {
  const tensors: NamedTensor[] = [];
  for (const { group } of parameters.groups) {
    const { m, v, mAbsmax, vAbsmax } = optimizer.moments(group);
    for (const parameter of parameters.all) {
      if (parameter.group !== group) continue;
      // A parameter lies in its group's moments where it lies in the group's weights.
      const { name, shape, offset } = parameter;
      for (const [suffix, moments] of [["exp_avg", m], ["exp_avg_sq", v]] as const) {
        tensors.push(namedTensor(`${name}.${suffix}`, moments.view(shape, { offset })));
      }
    }
    for (const [suffix, absmax] of [["exp_avg", mAbsmax], ["exp_avg_sq", vAbsmax]] as const) {
      if (absmax !== null) tensors.push(namedTensor(`optimizer.${group}.${suffix}.absmax`, absmax));
    }
  }
  return tensors;
}
