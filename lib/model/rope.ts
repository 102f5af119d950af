/**
 * Angles of the rotary position embedding (arXiv:2104.09864), half-rotation convention.
 *
 * @module
 */

/**
 * Cosines and sines of `positions` tokens: (positions, headDim) float32, in each row headDim / 2 cosines and then as many sines
 * of position · theta^(-2j / headDim).
 */
export function ropeTable(
  positions: number,
  headDim: number,
  theta: number,
): Float32Array<ArrayBuffer> {
  const half = headDim / 2;
  const table = new Float32Array(positions * headDim);
  for (let j = 0; j < half; j++) {
    const frequency = theta ** (-2 * j / headDim);
    for (let position = 0; position < positions; position++) {
      table[position * headDim + j] = Math.cos(position * frequency);
      table[position * headDim + half + j] = Math.sin(position * frequency);
    }
  }
  return table;
}
