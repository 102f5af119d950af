/**
 * The C functions of `titanbit.h` that encode, decode and train vocabularies; see `core.ts` for how the table is written.
 *
 * @module
 */

export const TOKENIZER_SYMBOLS = {
  tb_tokenizer_create: {
    parameters: [
      "buffer", // const uint8_t* spec
      "i64", // int64_t spec_bytes
      "buffer", // tb_tokenizer** tokenizer
      "buffer", // char* error
      "i64", // int64_t error_capacity
    ],
    result: "i32",
  },
  tb_tokenizer_destroy: {
    parameters: [
      "u64", // tb_tokenizer* tokenizer
    ],
    result: "i32",
  },
  tb_tokenizer_encode: {
    parameters: [
      "u64", // tb_tokenizer* tokenizer
      "buffer", // const uint8_t* text
      "buffer", // const double* ends
      "i64", // int64_t documents
      "i64", // int64_t end_id
      "i32", // int32_t specials_as_text
      "buffer", // uint32_t* ids
      "i64", // int64_t capacity
      "buffer", // double* id_ends
      "buffer", // int64_t* count
    ],
    result: "i32",
  },
  tb_tokenizer_decode: {
    parameters: [
      "u64", // tb_tokenizer* tokenizer
      "buffer", // const uint32_t* ids
      "i64", // int64_t count
      "i32", // int32_t mode
      "buffer", // uint8_t* bytes
      "i64", // int64_t capacity
      "buffer", // int64_t* written
    ],
    result: "i32",
  },
  tb_tokenizer_trainer_create: {
    parameters: [
      "i32", // int32_t kind
      "i64", // int64_t specials
      "i64", // int64_t vocab_size
      "i64", // int64_t min_frequency
      "i64", // int64_t memory_limit
      "i32", // int32_t threads
      "buffer", // tb_tokenizer_trainer** trainer
    ],
    result: "i32",
  },
  tb_tokenizer_trainer_destroy: {
    parameters: [
      "u64", // tb_tokenizer_trainer* trainer
    ],
    result: "i32",
  },
  tb_tokenizer_trainer_add: {
    parameters: [
      "u64", // tb_tokenizer_trainer* trainer
      "buffer", // const uint8_t* text
      "i64", // int64_t bytes
    ],
    result: "i32",
  },
  tb_tokenizer_trainer_step: {
    parameters: [
      "u64", // tb_tokenizer_trainer* trainer
      "i64", // int64_t tokens
      "buffer", // int64_t* progress
    ],
    result: "i32",
  },
  tb_tokenizer_trainer_result: {
    parameters: [
      "u64", // tb_tokenizer_trainer* trainer
      "buffer", // uint32_t* merges
      "i64", // int64_t merge_count
      "buffer", // uint32_t* alphabet
      "i64", // int64_t alphabet_count
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
