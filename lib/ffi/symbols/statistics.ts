/**
 * The C functions of `titanbit.h` that count what a ternary run's records tell; see `core.ts` for how the table is written.
 *
 * @module
 */

export const STATISTICS_SYMBOLS = {
  tb_ternary_statistics: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const float* w
      "u64", // const int8_t* q
      "u64", // const int8_t* previous [null]
      "u64", // const float* scale
      "f32", // float margin
      "i64", // int64_t rows
      "i64", // int64_t cols
      "u64", // int64_t* counts
    ],
    result: "i32",
  },
  tb_quantized_statistics: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_activation_quant quant
      "u64", // const int8_t* q
      "u64", // const float* scale
      "i64", // int64_t N
      "i64", // int64_t D
      "u64", // int64_t* counts
      "u64", // float* scales
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
