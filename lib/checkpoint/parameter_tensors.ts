/**
 * Tensors on a device as those of a file, to be written and to be filled.
 *
 * @module
 */

import type { OwnParameter } from "../interop/huggingface.ts";
import type { SafetensorsDtype, TensorSink, TensorSource } from "../interop/safetensors.ts";
import type { BitNetConfig } from "../model/config.ts";
import type { Parameter, ParameterStore } from "../model/parameters.ts";
import { modelTensors } from "./save.ts";

/** A tensor that can be written to a file and filled from one. */
export type NamedTensor = TensorSource & TensorSink;

type DeviceTensor = Parameter["value"];

/** Every parameter under its name, float32. */
export function parameterTensors(parameters: ParameterStore): NamedTensor[] {
  return parameters.all.map(({ name, value }) => namedTensor(name, value));
}

/**
 * Those of a model's parameters that BitNet does not have: layers of a program's own declared them.
 */
export function ownParametersOf(
  config: BitNetConfig,
  parameters: Pick<ParameterStore, "all">,
): OwnParameter[] {
  const known = new Set(modelTensors(config).map(({ name }) => name));
  return parameters.all.filter(({ name }) => !known.has(name))
    .map(({ name, shape, group }) => ({ name, shape, group }));
}

const FILE_DTYPES: Record<DeviceTensor["dtype"], SafetensorsDtype> = {
  float32: "F32",
  bfloat16: "BF16",
  float16: "F16",
  int8: "I8",
  uint8: "U8",
  int32: "I32",
  int64: "I64",
};

/** A tensor of a device under the name that a file has it by. */
export function namedTensor(name: string, tensor: DeviceTensor): NamedTensor {
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
