/**
 * Numbers of few bits: sign, exponent, mantissa.
 *
 * @module
 */

/** A format with gradual underflow. */
export interface Minifloat {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  /** Largest finite magnitude; what is beyond it is encoded as it. */
  readonly largest: number;
}

/** IEEE 754 half precision. */
export const FLOAT16: Minifloat = { exponentBits: 5, mantissaBits: 10, largest: 65504 };
/** The upper half of float32. */
export const BFLOAT16: Minifloat = {
  exponentBits: 8,
  mantissaBits: 7,
  largest: (2 - 2 ** -7) * 2 ** 127,
};
/** FP8 without infinities (arXiv:2209.05433): the codes above 448 are NaN. */
export const FLOAT8_E4M3: Minifloat = { exponentBits: 4, mantissaBits: 3, largest: 448 };

/** The code of the nearest number, half to even. Throws `RangeError` for NaN. */
export function encodeMinifloat(value: number, format: Minifloat): number {
  if (Number.isNaN(value)) {
    throw new RangeError("Cannot encode NaN as no product is measured on it");
  }
  const { exponentBits, mantissaBits, largest } = format;
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = value < 0 || Object.is(value, -0) ? 2 ** (exponentBits + mantissaBits) : 0;
  const size = Math.min(Math.abs(value), largest);
  let exponent = size === 0 ? 1 - bias : Math.max(1 - bias, Math.floor(Math.log2(size)));
  // log2 of what lies right below a power of two may be rounded up.
  if (exponent > 1 - bias && size < 2 ** exponent) exponent--;
  const scaled = size / 2 ** (exponent - mantissaBits); // exact: the divisor is a power of two
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const mantissa = below + (rest > 0.5 || rest === 0.5 && below % 2 === 1 ? 1 : 0);
  // A mantissa that was rounded up to the next power carries into the exponent by itself.
  return sign + (exponent - 1 + bias) * 2 ** mantissaBits + mantissa;
}

/** The number of a code; infinities and NaN of the IEEE formats are not told apart from large numbers. */
export function decodeMinifloat(code: number, { exponentBits, mantissaBits }: Minifloat): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const mantissa = code % 2 ** mantissaBits;
  const exponent = Math.floor(code / 2 ** mantissaBits) % 2 ** exponentBits;
  const size = exponent === 0
    ? mantissa * 2 ** (1 - bias - mantissaBits)
    : (2 ** mantissaBits + mantissa) * 2 ** (exponent - bias - mantissaBits);
  return code >= 2 ** (exponentBits + mantissaBits) ? -size : size;
}
