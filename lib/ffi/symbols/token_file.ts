/**
 * The C functions of `titanbit.h` that map files and read tokens out of them; see `core.ts` for how the table is written.
 *
 * @module
 */

export const TOKEN_FILE_SYMBOLS = {
  tb_file_map: {
    parameters: [
      "buffer", // const char* path
      "buffer", // uint64_t* address
      "buffer", // int64_t* bytes
      "buffer", // char* error
      "i64", // int64_t error_capacity
    ],
    result: "i32",
  },
  tb_file_advise: {
    parameters: [
      "u64", // uint64_t address
      "i64", // int64_t bytes
      "i32", // int32_t advice
    ],
    result: "i32",
  },
  tb_file_unmap: {
    parameters: [
      "u64", // uint64_t address
      "i64", // int64_t bytes
    ],
    result: "i32",
  },
  tb_gather_windows: {
    parameters: [
      "buffer", // const uint64_t* windows
      "buffer", // const int32_t* widths
      "i64", // int64_t B
      "i64", // int64_t T
      "i64", // int64_t vocab_size
      "buffer", // int32_t* ids
      "buffer", // int32_t* targets [null]
      "buffer", // int64_t* bad
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
