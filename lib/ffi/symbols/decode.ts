/**
 * The C functions of `titanbit.h` that are several others as one, for decoding; see `core.ts` for how the table is written.
 *
 * @module
 */

export const DECODE_SYMBOLS = {
  tb_rope_attention_decode: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* qkv
      "u64", // const float* cos_sin
      "u64", // const int32_t* start
      "u64", // void* q
      "i32", // tb_dtype cache_dtype
      "u64", // void* k_cache
      "u64", // void* v_cache
      "u64", // float* k_scale
      "u64", // float* v_scale
      "u64", // void* o
      "f32", // float scale
      "i64", // int64_t B
      "i64", // int64_t T
      "i64", // int64_t H
      "i64", // int64_t G
      "i64", // int64_t E
      "i64", // int64_t capacity
      "i64", // int64_t positions
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
