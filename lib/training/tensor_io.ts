/**
 * Parameters and moments of a model as the tensors of a checkpoint.
 *
 * @module
 */

import type { TensorSink, TensorSource } from "../interop/safetensors.ts";
import type { ParameterStore } from "../model/parameters.ts";
import type { AdamW } from "../optim/adamw.ts";
import type { Tensor } from "../tensor/tensor.ts";

type NamedTensor = TensorSource & TensorSink;

/** Every parameter under its Hugging Face name, float32. */
export function parameterTensors(parameters: ParameterStore): NamedTensor[] {
  return parameters.all.map(({ name, shape, value }) => namedTensor(name, shape, value));
}

/** AdamW's moments: `<parameter>.exp_avg` and `<parameter>.exp_avg_sq` in each parameter's shape. */
export function optimizerTensors(parameters: ParameterStore, optimizer: AdamW): NamedTensor[] {
  const tensors: NamedTensor[] = [];
  for (const { group, value: flat } of parameters.groups) {
    const { m, v } = optimizer.moments(group);
    for (const parameter of parameters.all) {
      if (parameter.group !== group) continue;
      // A parameter lies in its group's moments where it lies in the group's weights.
      const offset = Number(parameter.value.address - flat.address) / 4;
      for (const [suffix, moments] of [["exp_avg", m], ["exp_avg_sq", v]] as const) {
        const part = moments.view(parameter.shape, { offset });
        tensors.push(namedTensor(`${parameter.name}.${suffix}`, parameter.shape, part));
      }
    }
  }
  return tensors;
}

function namedTensor(name: string, shape: readonly number[], tensor: Tensor): NamedTensor {
  return {
    name,
    shape,
    dtype: "F32",
    read(into: Uint8Array<ArrayBuffer>, byteOffset: number): void {
      tensor.device.download(into, tensor.address + BigInt(byteOffset));
    },
    write(from: Uint8Array<ArrayBuffer>, byteOffset: number): void {
      tensor.device.upload(tensor.address + BigInt(byteOffset), from);
    },
  };
}
