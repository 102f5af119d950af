/**
 * The head: losses on its logits, and the choice among them.
 *
 * @module
 */

export const HEAD_SYMBOLS = {
  tb_head_loss: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* x
      "u64", // const void* head
      "u64", // const int32_t* targets
      "u64", // float* loss
      "u64", // void* dx
      "u64", // float* dhead
      "f32", // float grad_scale
      "u64", // void* workspace
      "i64", // int64_t workspace_bytes
      "i64", // int64_t N
      "i64", // int64_t D
      "i64", // int64_t V
    ],
    result: "i32",
  },
  tb_cross_entropy: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const float* logits
      "u64", // const int32_t* targets
      "u64", // const float* teacher
      "f32", // float smoothing
      "f32", // float teacher_weight
      "u64", // float* loss
      "i32", // tb_dtype dlogits_dtype
      "u64", // void* dlogits
      "f32", // float grad_scale
      "i64", // int64_t N
      "i64", // int64_t V
    ],
    result: "i32",
  },
  tb_top_k: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const float* logits
      "u64", // float* values
      "u64", // int32_t* ids
      "i64", // int64_t N
      "i64", // int64_t V
      "i64", // int64_t stride
      "i64", // int64_t k
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
