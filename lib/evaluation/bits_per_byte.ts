/**
 * How well a model predicts text, in measures that can be compared.
 *
 * @module
 */

/**
 * Bits that a model needs for a byte of text: a compressor's measure, and the one that models of different vocabularies can be
 * compared by. `nats` is the sum of the cross-entropies, `bytes` the text's length in UTF-8.
 *
 * NaN where no text was scored.
 */
export function bitsPerByte(scored: { nats: number; bytes: number }): number {
  return scored.bytes > 0 ? scored.nats / Math.LN2 / scored.bytes : NaN;
}

/** exp of the mean cross-entropy in nats a token: among how many equally likely tokens the model is undecided. */
export function perplexity(loss: number): number {
  return Math.exp(loss);
}
