/**
 * The tokenizer's C functions. Kept like `core.ts`.
 *
 * @module
 */

export const TOKENIZER_SYMBOLS = {} as const satisfies Deno.ForeignLibraryInterface;
