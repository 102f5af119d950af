/** bfloat16 for oracles: the upper half of a float32. */

import type { Numbers } from "./compare.ts";

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

/** The bits of the bfloat16 that is nearest to the float32 of a value; halves go to the even one. */
function bitsOf(value: number): number {
  single[0] = value;
  const bits = word[0]!;
  if (Number.isNaN(value)) return 0x7fff;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** A value rounded to float32, then to bfloat16. */
export function roundToBfloat16(value: number): number {
  const bits = bitsOf(value);
  word[0] = bits << 16;
  return single[0]!;
}

/** The bits of values rounded to bfloat16. */
export function toBfloat16(values: Numbers): Uint16Array<ArrayBuffer> {
  return Uint16Array.from({ length: values.length }, (_, i) => bitsOf(values[i]!));
}

/** The numbers that bits of bfloat16 stand for. */
export function fromBfloat16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  return new Float32Array(Uint32Array.from(bits, (half) => half << 16).buffer);
}
