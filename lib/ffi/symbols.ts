/**
 * Every C function of `cuda/include/titanbit.h`, by room.
 *
 * @module
 */

import { CORE_SYMBOLS } from "./symbols/core.ts";
import { DECODE_SYMBOLS } from "./symbols/decode.ts";
import { HEAD_SYMBOLS } from "./symbols/head.ts";
import { PEER_SYMBOLS } from "./symbols/peer.ts";
import { STATISTICS_SYMBOLS } from "./symbols/statistics.ts";
import { TOKEN_FILE_SYMBOLS } from "./symbols/token_file.ts";
import { TOKENIZER_SYMBOLS } from "./symbols/tokenizer.ts";

export const SYMBOLS = {
  ...CORE_SYMBOLS,
  ...DECODE_SYMBOLS,
  ...HEAD_SYMBOLS,
  ...PEER_SYMBOLS,
  ...STATISTICS_SYMBOLS,
  ...TOKEN_FILE_SYMBOLS,
  ...TOKENIZER_SYMBOLS,
} as const satisfies Deno.ForeignLibraryInterface;
