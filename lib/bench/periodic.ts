/**
 * Large random operands made at once: values that repeat after a prime number, as good as fresh ones for a product, and known on the
 * host without a copy of the whole.
 *
 * @module
 */

import { BYTES, type DType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  BFLOAT16,
  decodeMinifloat,
  encodeMinifloat,
  FLOAT16,
  FLOAT8_E4M3,
  type Minifloat,
} from "./minifloat.ts";

/** A prime, so that rows of no length repeat each other. */
const PERIOD = 100_003;

const FORMATS: Partial<Record<DType, Minifloat>> = {
  bfloat16: BFLOAT16,
  float16: FLOAT16,
  uint8: FLOAT8_E4M3, // FP8 codes
};

/** Values of one dtype; element i of a tensor filled with them is `values[i % values.length]`. */
export interface Periodic {
  readonly dtype: DType;
  /** As real numbers, after the rounding to the dtype. */
  readonly values: Float64Array;
  /** As the device keeps them. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Standard normal numbers rounded to float32, bfloat16, float16 or, in uint8, FP8 e4m3. */
export function periodicNormals(dtype: DType): Periodic {
  return periodic(dtype, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
    return radius * Math.cos(2 * Math.PI * Math.random());
  });
}

/** int8 from `-most` to `most`. */
export function periodicIntegers(most: number): Periodic {
  return periodic("int8", () => Math.floor(Math.random() * (2 * most + 1)) - most);
}

function periodic(dtype: DType, next: () => number): Periodic {
  const drawn = Float64Array.from({ length: PERIOD }, next);
  const format = FORMATS[dtype];
  if (format === undefined) {
    const kept = dtype === "int8" ? Int8Array.from(drawn) : Float32Array.from(drawn);
    return { dtype, values: Float64Array.from(kept), bytes: new Uint8Array(kept.buffer) };
  }
  const codes = Array.from(drawn, (value) => encodeMinifloat(value, format));
  const kept = dtype === "uint8" ? Uint8Array.from(codes) : Uint16Array.from(codes);
  return {
    dtype,
    values: Float64Array.from(codes, (code) => decodeMinifloat(code, format)),
    bytes: new Uint8Array(kept.buffer),
  };
}

/** Fills a tensor: one upload, then copies on the device that double what is there. */
export function fillPeriodic(tensor: Tensor, { dtype, bytes }: Periodic): void {
  if (tensor.dtype !== dtype) {
    throw new TypeError(
      `Cannot fill ${tensor.name} as it must be ${dtype}: current dtype is ${tensor.dtype}`,
    );
  }
  const { device, address } = tensor;
  let filled = Math.min(bytes.length, tensor.bytes);
  device.upload(address, bytes.subarray(0, filled));
  while (filled < tensor.bytes) {
    const count = Math.min(filled, tensor.bytes - filled);
    device.copy(address + BigInt(filled), address, count);
    filled += count;
  }
}

/** Some elements of a tensor as real numbers, copied to the host. */
export function readNumbers(tensor: Tensor): Float64Array {
  const raw = tensor.download(new Uint8Array(tensor.length * BYTES[tensor.dtype])).buffer;
  const format = FORMATS[tensor.dtype];
  if (format !== undefined) {
    const codes = tensor.dtype === "uint8" ? new Uint8Array(raw) : new Uint16Array(raw);
    return Float64Array.from(codes, (code) => decodeFinite(code, format));
  }
  if (tensor.dtype === "float32") return Float64Array.from(new Float32Array(raw));
  if (tensor.dtype === "int32") return Float64Array.from(new Int32Array(raw));
  if (tensor.dtype === "int8") return Float64Array.from(new Int8Array(raw));
  throw new TypeError(`Cannot read ${tensor.name} as numbers: current dtype is ${tensor.dtype}`);
}

/** NaN for what is no finite number, so that no check passes on it. */
function decodeFinite(code: number, format: Minifloat): number {
  const value = decodeMinifloat(code, format);
  return Math.abs(value) <= format.largest ? value : NaN;
}
