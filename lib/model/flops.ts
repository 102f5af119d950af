/**
 * What a model costs: parameters by part, FLOPs a token, bytes of the packed model.
 *
 * Letters: V vocabulary, D hidden size, F feed-forward width, H query heads, G key/value heads, E head dimension
 * (D = H·E), L layers, T tokens of a sequence.
 *
 * @module
 */

import type { BitNetConfig } from "./config.ts";

/** Parameter counts. */
export interface ParameterCounts {
  /** V·D. */
  readonly embedding: number;
  /** L·(2·D·D + 2·D·G·E): q, k, v, o. */
  readonly attention: number;
  /** L·3·D·F: gate, up, down. */
  readonly mlp: number;
  /** L·(3·D + F) + D: two norms and two sub-norms a layer, and the last norm. */
  readonly norms: number;
  /** V·D, or 0 where the head shares the embedding's matrix. */
  readonly head: number;
  readonly total: number;
  /** Parameters of the matrices that are ternary: attention and mlp, or 0 without quantisation. */
  readonly ternary: number;
  /** ternary / total. */
  readonly ternaryShare: number;
}

/** Counts a model's parameters. */
export function countParameters(config: BitNetConfig): ParameterCounts {
  const { vocabSize, hiddenSize, intermediateSize, numLayers, numKvHeads, headDim } = config;
  const embedding = vocabSize * hiddenSize;
  const attention = numLayers * 2 * hiddenSize * (hiddenSize + numKvHeads * headDim);
  const mlp = numLayers * 3 * hiddenSize * intermediateSize;
  const norms = numLayers * (3 * hiddenSize + intermediateSize) + hiddenSize;
  const head = config.tieEmbeddings ? 0 : embedding;
  const total = embedding + attention + mlp + norms + head;
  const ternary = config.quantization === "ternary" ? attention + mlp : 0;
  return { embedding, attention, mlp, norms, head, total, ternary, ternaryShare: ternary / total };
}

/** FLOPs a token (a multiply-add is 2), split by the arithmetic that does them. */
export interface PassFlops {
  /** Products of int8 activations and ternary weights. */
  readonly int8: number;
  /** Products of floating-point values: bfloat16 on CUDA, float32 on a CPU. */
  readonly bf16: number;
}

/** FLOPs a token of one training step. */
export interface TrainingFlops {
  readonly forward: PassFlops;
  readonly backward: PassFlops;
  /** Everything together. */
  readonly total: number;
}

/**
 * FLOPs a token of training on sequences of `seqLen` tokens.
 *
 * - Projections, P = L·(2·D·D + 2·D·G·E + 3·D·F) weights: 2·P forward (int8 where ternary), 4·P backward (two
 *   products, dX and dW, both floating point).
 * - Head: 2·V·D forward, 4·V·D backward.
 * - Attention is causal: a token looks at (T + 1) / 2 others on average, with one multiply-add for the score and
 *   one for the value in each of D = H·E places: L·4·D·(T + 1)/2 forward, twice that backward.
 *
 * The sum is PaLM's 6·N + 12·L·H·E·T (arXiv:2204.02311, appendix B) with N the weights that multiply, so without
 * an untied embedding and without norms, and with attention halved for the mask, as llm.c counts it. Products that
 * are computed again in the backward pass, element-wise passes, norms and the softmax are left out.
 */
export function trainingFlopsPerToken(config: BitNetConfig, seqLen: number): TrainingFlops {
  const { attention, mlp } = countParameters(config);
  const projections = 2 * (attention + mlp);
  const head = 2 * config.vocabSize * config.hiddenSize;
  const scores = config.numLayers * 4 * config.hiddenSize * (seqLen + 1) / 2;
  const ternary = config.quantization === "ternary";
  const forward = {
    int8: ternary ? projections : 0,
    bf16: (ternary ? 0 : projections) + head + scores,
  };
  const backward = { int8: 0, bf16: 2 * (projections + head + scores) };
  const total = forward.int8 + forward.bf16 + backward.bf16;
  return { forward, backward, total };
}

/** FLOPs of decoding one token after `contextLen` others, with a key/value cache. */
export function decodeFlopsPerToken(config: BitNetConfig, contextLen: number): PassFlops {
  const { attention, mlp } = countParameters(config);
  const projections = 2 * (attention + mlp);
  const other = 2 * config.vocabSize * config.hiddenSize +
    config.numLayers * 4 * config.hiddenSize * (contextLen + 1);
  const ternary = config.quantization === "ternary";
  return { int8: ternary ? projections : 0, bf16: other + (ternary ? 0 : projections) };
}

/** Bytes of a model that only runs. */
export interface PackedBytes {
  /** Ternary matrices at 2 bits a weight, 16 in an int32, and a float32 scale for each of 7 matrices a layer. */
  readonly ternary: number;
  /** Embedding, an untied head, and matrices that aren't ternary, in 16 bits. */
  readonly dense: number;
  /** Norm weights in float32. */
  readonly norms: number;
  readonly total: number;
}

/** Size of a model packed for inference; rows of a ternary matrix start at a whole int32. */
export function packedInferenceBytes(config: BitNetConfig): PackedBytes {
  const { hiddenSize, intermediateSize, numLayers, numKvHeads, headDim } = config;
  const counts = countParameters(config);
  const isTernary = config.quantization === "ternary";
  const row = (columns: number) => 4 * Math.ceil(columns / 16);
  const rowsOverHidden = 2 * hiddenSize + 2 * numKvHeads * headDim + 2 * intermediateSize; // q o k v gate up
  const layer = rowsOverHidden * row(hiddenSize) + hiddenSize * row(intermediateSize) + 7 * 4;
  const ternary = isTernary ? numLayers * layer : 0;
  const matrices = isTernary ? 0 : counts.attention + counts.mlp;
  const dense = 2 * (counts.embedding + counts.head + matrices);
  const norms = 4 * counts.norms;
  return { ternary, dense, norms, total: ternary + dense + norms };
}

/** Tokens of a compute-optimal run, 20 a parameter (Hoffmann et al., arXiv:2203.15556). */
export function chinchillaTokens(config: BitNetConfig): number {
  return 20 * countParameters(config).total;
}
