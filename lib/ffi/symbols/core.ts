/**
 * The C functions of `titanbit.h` that a model needs, contexts, memory, graphs, events and ops, as `Deno.dlopen` wants them: one
 * parameter a line, with its C type and name. Device addresses travel as `u64`, host memory as `buffer`. A test holds this table
 * and those beside it to the header.
 *
 * @module
 */

export const CORE_SYMBOLS = {
  tb_abi_version: { parameters: [], result: "i32" },
  tb_describe: {
    parameters: [
      "buffer", // char* text
      "i64", // int64_t capacity
      "buffer", // int64_t* written
    ],
    result: "i32",
  },
  tb_context_create: {
    parameters: [
      "i32", // int32_t device
      "i32", // int32_t threads
      "buffer", // tb_context** context
      "buffer", // char* error
      "i64", // int64_t error_capacity
    ],
    result: "i32",
  },
  tb_context_destroy: {
    parameters: [
      "u64", // tb_context* context
    ],
    result: "i32",
  },
  tb_last_error: {
    parameters: [
      "u64", // tb_context* context
      "buffer", // char* text
      "i64", // int64_t capacity
    ],
    result: "i32",
  },
  tb_synchronize: {
    parameters: [
      "u64", // tb_context* context
    ],
    result: "i32",
  },
  tb_graph_begin: {
    parameters: [
      "u64", // tb_context* context
    ],
    result: "i32",
  },
  tb_graph_end: {
    parameters: [
      "u64", // tb_context* context
      "buffer", // uint64_t* graph
    ],
    result: "i32",
  },
  tb_graph_launch: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t graph
    ],
    result: "i32",
  },
  tb_graph_destroy: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t graph
    ],
    result: "i32",
  },
  tb_event_create: {
    parameters: [
      "u64", // tb_context* context
      "buffer", // uint64_t* event
    ],
    result: "i32",
  },
  tb_event_record: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t event
    ],
    result: "i32",
  },
  tb_event_elapsed: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t from
      "u64", // uint64_t to
      "buffer", // double* milliseconds
    ],
    result: "i32",
  },
  tb_event_destroy: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t event
    ],
    result: "i32",
  },
  tb_alloc: {
    parameters: [
      "u64", // tb_context* context
      "i64", // int64_t bytes
      "buffer", // uint64_t* address
    ],
    result: "i32",
  },
  tb_free: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t address
    ],
    result: "i32",
  },
  tb_copy_to_device: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t to
      "buffer", // const void* from
      "i64", // int64_t bytes
    ],
    result: "i32",
  },
  tb_copy_to_host: {
    parameters: [
      "u64", // tb_context* context
      "buffer", // void* to
      "u64", // uint64_t from
      "i64", // int64_t bytes
    ],
    result: "i32",
  },
  tb_copy: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t to
      "u64", // uint64_t from
      "i64", // int64_t bytes
    ],
    result: "i32",
  },
  tb_fill: {
    parameters: [
      "u64", // tb_context* context
      "u64", // uint64_t to
      "i32", // int32_t byte_value
      "i64", // int64_t bytes
    ],
    result: "i32",
  },
  tb_memory: {
    parameters: [
      "u64", // tb_context* context
      "buffer", // int64_t* free_bytes
      "buffer", // int64_t* total_bytes
    ],
    result: "i32",
  },
  tb_random_normal: {
    parameters: [
      "u64", // tb_context* context
      "u64", // float* to
      "i64", // int64_t n
      "f32", // float std
      "u64", // uint64_t seed
      "u64", // uint64_t stream
    ],
    result: "i32",
  },
  tb_cast: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype from_dtype
      "u64", // const void* from
      "i32", // tb_dtype to_dtype
      "u64", // void* to
      "i64", // int64_t n
    ],
    result: "i32",
  },
  tb_embedding_forward: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const int32_t* ids
      "u64", // const float* table
      "u64", // float* out
      "i64", // int64_t N
      "i64", // int64_t D
      "i64", // int64_t V
    ],
    result: "i32",
  },
  tb_embedding_backward: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const int32_t* ids
      "i32", // tb_dtype dout_dtype
      "u64", // const void* dout
      "u64", // float* dtable
      "i64", // int64_t N
      "i64", // int64_t D
      "i64", // int64_t V
    ],
    result: "i32",
  },
  tb_rmsnorm_forward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype x_dtype
      "u64", // const void* x
      "u64", // const float* weight
      "f32", // float eps
      "i32", // tb_activation_quant quant
      "u64", // int8_t* q
      "u64", // float* scale
      "i32", // tb_dtype y_dtype
      "u64", // void* y
      "u64", // float* rstd
      "i64", // int64_t N
      "i64", // int64_t D
    ],
    result: "i32",
  },
  tb_rmsnorm_backward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dy_dtype
      "u64", // const void* dy
      "i32", // tb_dtype x_dtype
      "u64", // const void* x
      "u64", // const float* weight
      "u64", // const float* rstd
      "i32", // tb_dtype dx_dtype
      "u64", // void* dx
      "u64", // float* dweight
      "i64", // int64_t N
      "i64", // int64_t D
      "i32", // int32_t accumulate
    ],
    result: "i32",
  },
  tb_quantize_weight: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const float* w
      "u64", // int8_t* q
      "u64", // float* scale
      "i64", // int64_t rows
      "i64", // int64_t cols
    ],
    result: "i32",
  },
  tb_pack_ternary: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const int8_t* q
      "u64", // int32_t* packed
      "i64", // int64_t rows
      "i64", // int64_t cols
    ],
    result: "i32",
  },
  tb_unpack_ternary: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const int32_t* packed
      "u64", // int8_t* q
      "i64", // int64_t rows
      "i64", // int64_t cols
    ],
    result: "i32",
  },
  tb_gemm_ternary_forward: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const int8_t* x
      "u64", // const float* x_scale
      "u64", // const int8_t* w
      "u64", // const float* w_scale
      "i32", // tb_dtype dtype
      "u64", // const void* residual
      "u64", // void* y
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
    ],
    result: "i32",
  },
  tb_gemm_ternary_packed_forward: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const int8_t* x
      "u64", // const float* x_scale
      "u64", // const int32_t* packed
      "u64", // const float* w_scale
      "i32", // tb_dtype dtype
      "u64", // const void* residual
      "u64", // void* y
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
    ],
    result: "i32",
  },
  tb_gemm_ternary_backward_input: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* dy
      "u64", // const int8_t* w
      "u64", // const float* w_scale
      "u64", // void* dx
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
      "i32", // int32_t accumulate
    ],
    result: "i32",
  },
  tb_gemm_ternary_backward_weight: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* dy
      "u64", // const int8_t* x
      "u64", // const float* x_scale
      "i32", // tb_dtype dw_dtype
      "u64", // void* dw
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
      "i32", // int32_t accumulate
    ],
    result: "i32",
  },
  tb_gemm: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* a
      "u64", // const void* b
      "i32", // tb_dtype c_dtype
      "u64", // const void* residual
      "u64", // void* c
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
      "i32", // int32_t transpose_a
      "i32", // int32_t transpose_b
    ],
    result: "i32",
  },
  tb_gemm_int8: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* x
      "u64", // const int8_t* w
      "u64", // const float* w_scale
      "u64", // float* y
      "i64", // int64_t M
      "i64", // int64_t N
      "i64", // int64_t K
    ],
    result: "i32",
  },
  tb_rope_forward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* qkv
      "u64", // const float* cos_sin
      "u64", // const int32_t* start
      "u64", // void* q
      "i32", // tb_dtype cache_dtype
      "u64", // void* k
      "u64", // void* v
      "u64", // float* k_scale
      "u64", // float* v_scale
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
  tb_rope_backward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* dq
      "u64", // const void* dk
      "u64", // const void* dv
      "u64", // const float* cos_sin
      "u64", // void* dqkv
      "i64", // int64_t B
      "i64", // int64_t T
      "i64", // int64_t H
      "i64", // int64_t G
      "i64", // int64_t E
      "i64", // int64_t positions
    ],
    result: "i32",
  },
  tb_attention_forward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* q
      "u64", // const void* k
      "u64", // const void* v
      "u64", // void* o
      "u64", // float* lse
      "f32", // float scale
      "i64", // int64_t B
      "i64", // int64_t T
      "i64", // int64_t H
      "i64", // int64_t G
      "i64", // int64_t E
    ],
    result: "i32",
  },
  tb_attention_backward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* dout
      "u64", // const void* q
      "u64", // const void* k
      "u64", // const void* v
      "u64", // const void* o
      "u64", // const float* lse
      "u64", // float* delta
      "u64", // void* dq
      "u64", // void* dk
      "u64", // void* dv
      "f32", // float scale
      "i64", // int64_t B
      "i64", // int64_t T
      "i64", // int64_t H
      "i64", // int64_t G
      "i64", // int64_t E
    ],
    result: "i32",
  },
  tb_attention_decode: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* q
      "i32", // tb_dtype cache_dtype
      "u64", // const void* k_cache
      "u64", // const void* v_cache
      "u64", // const float* k_scale
      "u64", // const float* v_scale
      "u64", // const int32_t* start
      "u64", // void* o
      "f32", // float scale
      "i64", // int64_t B
      "i64", // int64_t T
      "i64", // int64_t H
      "i64", // int64_t G
      "i64", // int64_t E
      "i64", // int64_t capacity
    ],
    result: "i32",
  },
  tb_glu_norm_forward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* gate_up
      "i32", // tb_hidden_act act
      "u64", // const float* weight
      "f32", // float eps
      "i32", // tb_activation_quant quant
      "u64", // int8_t* q
      "u64", // float* scale
      "u64", // void* y
      "u64", // float* rstd
      "i64", // int64_t N
      "i64", // int64_t F
    ],
    result: "i32",
  },
  tb_glu_norm_backward: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* dy
      "u64", // const void* gate_up
      "i32", // tb_hidden_act act
      "u64", // const float* weight
      "u64", // const float* rstd
      "u64", // void* dgate_up
      "u64", // float* dweight
      "i64", // int64_t N
      "i64", // int64_t F
    ],
    result: "i32",
  },
  tb_sum: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const float* x
      "f32", // float scale
      "u64", // float* out
      "i64", // int64_t n
      "i32", // int32_t accumulate
    ],
    result: "i32",
  },
  tb_norm: {
    parameters: [
      "u64", // tb_context* context
      "i32", // tb_dtype dtype
      "u64", // const void* x
      "u64", // float* out
      "i64", // int64_t n
      "i32", // int32_t accumulate
    ],
    result: "i32",
  },
  tb_adamw_begin: {
    parameters: [
      "u64", // tb_context* context
      "u64", // const float* grad_norm
      "u64", // int32_t* updates
      "u64", // float* hyper
      "i64", // int64_t groups
    ],
    result: "i32",
  },
  tb_adamw: {
    parameters: [
      "u64", // tb_context* context
      "u64", // float* w
      "i32", // tb_dtype g_dtype
      "u64", // const void* g
      "i32", // tb_state_dtype state_dtype
      "u64", // void* m
      "u64", // void* v
      "u64", // float* m_absmax
      "u64", // float* v_absmax
      "u64", // const float* hyper
      "u64", // const float* grad_norm
      "u64", // const int32_t* updates
      "i64", // int64_t n
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
