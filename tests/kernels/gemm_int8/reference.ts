/** The product with int8 weights from its definition. */

export interface Int8Inputs {
  x: Float32Array<ArrayBuffer>;
  w: Int8Array<ArrayBuffer>;
  wScale: Float32Array<ArrayBuffer>;
}

/** A row's integers and their factor: absmax, every operation rounded to float32. */
function quantizeRow(x: Float32Array): { q: Int32Array; scale: number } {
  const { fround } = Math;
  const gamma = x.reduce((most, value) => Math.max(most, Math.abs(value)), fround(1e-5));
  const factor = fround(127 / gamma);
  const q = Int32Array.from(x, (value) => roundHalfEven(fround(value * factor)));
  return { q, scale: fround(gamma / 127) };
}

/** The bits that every build has to give: the exact integer sum, rounded, times the rounded product of the scales. */
export function int8Bits(
  { x, w, wScale }: Int8Inputs,
  { M, N, K }: { M: number; N: number; K: number },
): Float32Array<ArrayBuffer> {
  const { fround } = Math;
  const y = new Float32Array(M * N);
  for (let m = 0; m < M; m++) {
    const { q, scale } = quantizeRow(x.subarray(m * K, (m + 1) * K));
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += q[k]! * w[n * K + k]!;
      y[m * N + n] = fround(fround(sum) * fround(scale * wScale[n]!));
    }
  }
  return y;
}

function roundHalfEven(value: number): number {
  return Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
}
