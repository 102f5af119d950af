/**
 * Parameters and moments of a model as the tensors of a checkpoint.
 *
 * @module
 */

import type { SafetensorsDtype, TensorSink, TensorSource } from "../interop/safetensors.ts";
import type { ParameterStore } from "../model/parameters.ts";
import type { AdamW } from "../optim/adamw.ts";
import { BYTES, type DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";

type NamedTensor = TensorSource & TensorSink;

/** Every parameter under its Hugging Face name, float32. */
export function parameterTensors(parameters: ParameterStore): NamedTensor[] {
  return parameters.all.map(({ name, value }) => namedTensor(name, value));
}

/**
 * AdamW's moments: `<parameter>.exp_avg` and `<parameter>.exp_avg_sq` in each parameter's shape, F32, BF16 or U8 codes. The scales
 * of codes run over a whole group: `optimizer.<group>.exp_avg.absmax` and `.exp_avg_sq.absmax`.
 */
export function optimizerTensors(parameters: ParameterStore, optimizer: AdamW): NamedTensor[] {
  const tensors: NamedTensor[] = [];
  for (const { group, value: flat } of parameters.groups) {
    const { m, v, mAbsmax, vAbsmax } = optimizer.moments(group);
    for (const parameter of parameters.all) {
      if (parameter.group !== group) continue;
      // A parameter lies in its group's moments where it lies in the group's weights.
      const offset = Number(parameter.value.address - flat.address) / BYTES[flat.dtype];
      for (const [suffix, moments] of [["exp_avg", m], ["exp_avg_sq", v]] as const) {
        const part = moments.view(parameter.shape, { offset });
        tensors.push(namedTensor(`${parameter.name}.${suffix}`, part));
      }
    }
    for (const [suffix, absmax] of [["exp_avg", mAbsmax], ["exp_avg_sq", vAbsmax]] as const) {
      if (absmax !== null) tensors.push(namedTensor(`optimizer.${group}.${suffix}.absmax`, absmax));
    }
  }
  return tensors;
}

const FILE_DTYPES: Record<DType, SafetensorsDtype> = {
  float32: "F32",
  bfloat16: "BF16",
  float16: "F16",
  int8: "I8",
  uint8: "U8",
  int32: "I32",
  int64: "I64",
};

function namedTensor(name: string, tensor: Tensor): NamedTensor {
  return {
    name,
    shape: tensor.shape,
    dtype: FILE_DTYPES[tensor.dtype],
    read(into: Uint8Array<ArrayBuffer>, byteOffset: number): void {
      tensor.device.download(into, tensor.address + BigInt(byteOffset));
    },
    write(from: Uint8Array<ArrayBuffer>, byteOffset: number): void {
      tensor.device.upload(tensor.address + BigInt(byteOffset), from);
    },
  };
}
