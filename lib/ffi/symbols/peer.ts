/**
 * The C functions of `titanbit.h` that are the yardstick of benchmarks; see `core.ts` for how the table is written.
 *
 * @module
 */

export const PEER_SYMBOLS = {
  tb_peer_algorithms: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_peer_kind kind
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
      "buffer", // int32_t* count
    ],
    result: "i32",
  },
  tb_peer_gemm: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_peer_kind kind
      "i32", // int32_t algorithm
      "u64", // const void* a
      "u64", // const void* b
      "u64", // void* c
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
