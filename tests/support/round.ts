/** The rounding that an oracle runs under: none (FP64), or float32 after each operation, as a plain float32 version has it. */

export type Round = (value: number) => number;

export const exact: Round = (value) => value;
export const single: Round = Math.fround;
