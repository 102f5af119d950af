/** 2-bit codes from their definition in titanbit.h. */

/** Words of rows of `columns` values: value j in bits 2(j mod 16) of word ⌊j / 16⌋ as q + 1, zeros behind the last. */
export function pack(q: Int8Array, rows: number, columns: number): Int32Array<ArrayBuffer> {
  const width = Math.ceil(columns / 16);
  const words = new Int32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < width * 16; j++) {
      const code = j < columns ? q[row * columns + j]! + 1 : 1;
      words[row * width + Math.floor(j / 16)]! |= code << (2 * (j % 16));
    }
  }
  return words;
}
