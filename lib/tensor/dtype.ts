/**
 * Element types of device memory.
 *
 * @module
 */

export type DType = "float32" | "bfloat16" | "float16" | "int8" | "uint8" | "int32" | "int64";

/** What activations can be kept in. */
export type ActivationDType = "float32" | "bfloat16";

/** What cached keys and values can be kept in; int8 with a scale for each token's head. */
export type CacheDType = ActivationDType | "int8";

/** Bytes of one element. */
export const BYTES: Record<DType, number> = {
  float32: 4,
  bfloat16: 2,
  float16: 2,
  int8: 1,
  uint8: 1,
  int32: 4,
  int64: 8,
};

/** The code of an activation dtype in `titanbit.h`. Throws `TypeError` for a dtype that activations can't have. */
export function activationCode(dtype: DType): number {
  if (dtype === "float32") return 0;
  if (dtype === "bfloat16") return 1;
  throw new TypeError(
    `Cannot compute on ${dtype} activations as they must be float32 or bfloat16`,
  );
}

/** The code of a dtype that cached keys and values can have. Throws `TypeError` for another. */
export function cacheCode(dtype: DType): number {
  return dtype === "int8" ? 2 : activationCode(dtype);
}
