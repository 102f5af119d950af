/**
 * Peak dense tensor throughput of known cards: the denominators of MFU.
 *
 * @module
 */

/** Peak rates of a card, without sparsity. */
export interface PeakOps {
  /** Name of the row. */
  readonly card: string;
  /** bfloat16 products with float32 accumulation, FLOP/s. */
  readonly bf16: number;
  /** int8 products, op/s; `null` where no figure is published. */
  readonly int8: number | null;
  /** FP8 products with float32 accumulation, FLOP/s; `null` where there are none or no figure is published. */
  readonly fp8: number | null;
}

const T = 1e12;

/**
 * Cards by the words their names hold. A row matches where every word of `words` is a word of the device's name
 * and none of `not` is: whole words, since "L4" is part of "L40S", "H20" of "H200" and "A10" of "A100".
 *
 * Figures are NVIDIA's dense ones (data sheets and architecture papers). GeForce cards run bfloat16 with float32
 * accumulation at half their tensor rate, which is why int8 is four times bf16 there. The L20's 119.5 TFLOP/s is a
 * dense figure: half-precision GEMMs were measured at 105 to 115 on it.
 */
const CARDS: readonly (PeakOps & { words: readonly string[]; not?: readonly string[] })[] = [
  { card: "L20", words: ["l20"], bf16: 119.5 * T, int8: 239 * T, fp8: 239 * T },
  { card: "L4", words: ["l4"], bf16: 121 * T, int8: 242.5 * T, fp8: 242.5 * T },
  { card: "L40S", words: ["l40s"], bf16: 362.05 * T, int8: 733 * T, fp8: 733 * T },
  { card: "L40", words: ["l40"], bf16: 181.05 * T, int8: 362 * T, fp8: 362 * T },
  { card: "A10", words: ["a10"], bf16: 125 * T, int8: 250 * T, fp8: null },
  { card: "A100", words: ["a100"], bf16: 312 * T, int8: 624 * T, fp8: null },
  { card: "RTX 3090", words: ["rtx", "3090"], not: ["ti"], bf16: 71 * T, int8: 284 * T, fp8: null },
  {
    card: "RTX 4090",
    words: ["rtx", "4090"],
    not: ["laptop", "d"],
    bf16: 165.2 * T,
    int8: 660.6 * T,
    fp8: 330.3 * T,
  },
  {
    card: "RTX 5090",
    words: ["rtx", "5090"],
    not: ["laptop", "d"],
    bf16: 209.5 * T,
    int8: 838 * T,
    fp8: 419 * T,
  },
  { card: "H100 PCIe", words: ["h100", "pcie"], bf16: 756 * T, int8: 1513 * T, fp8: 1513 * T },
  { card: "H100 NVL", words: ["h100", "nvl"], bf16: 835 * T, int8: null, fp8: null },
  {
    card: "H100 SXM",
    words: ["h100"],
    not: ["pcie", "nvl"],
    bf16: 989 * T,
    int8: 1979 * T,
    fp8: 1979 * T,
  },
  { card: "H200 NVL", words: ["h200", "nvl"], bf16: 836 * T, int8: null, fp8: null },
  { card: "H200 SXM", words: ["h200"], not: ["nvl"], bf16: 989 * T, int8: 1979 * T, fp8: 1979 * T },
  { card: "B200", words: ["b200"], bf16: 2250 * T, int8: 4500 * T, fp8: 4500 * T },
  { card: "B300", words: ["b300"], bf16: 2250 * T, int8: 187 * T, fp8: 4500 * T },
];

/**
 * Peak rates of the card that a driver names, such as `NVIDIA H100 80GB HBM3`, or `null` for a card that isn't
 * listed, a slice of one (MIG), or a CPU.
 */
export function findPeakOps(deviceName: string): PeakOps | null {
  const words = new Set(deviceName.toLowerCase().split(/[^a-z0-9]+/));
  if (words.has("mig")) return null;
  const found = CARDS.find((card) =>
    card.words.every((word) => words.has(word)) && !(card.not ?? []).some((word) => words.has(word))
  );
  if (found === undefined) return null;
  const { card, bf16, int8, fp8 } = found;
  return { card, bf16, int8, fp8 };
}
