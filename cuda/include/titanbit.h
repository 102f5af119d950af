/*
 * titanbit.h — the whole C ABI of TitanBit, kept by both builds:
 *   build/libtitanbit.so      CUDA
 *   build/libtitanbit_cpu.so  CPU (portable, AVX2 + FMA, AVX-512 VNNI; chosen at run time)
 *
 * Rules
 *   - Every call returns a tb_status and never throws, aborts or prints. tb_last_error() has the text.
 *   - Ops run on their context's stream in the order of the calls, allocate nothing and synchronise nothing.
 *   - Addresses of tensors are the context's device memory (tb_alloc), 64-byte aligned at their start.
 *     Tensors are dense and row-major; sizes and offsets are 64-bit element counts.
 *   - A parameter marked [null] may be 0; what its absence means stands beside it.
 *   - "accumulate": 0 overwrites the output, 1 adds to it.
 *   - Same inputs, same build, same device: the same bits, whatever the number of threads; on the CPU whatever the
 *     compiler too, for one instruction set.
 *
 * Letters: B sequences, T tokens of a sequence, N = B*T, D hidden size, F intermediate size, V vocabulary,
 *          H query heads, G key/value heads, E head dimension; M x K times K x N in the matrix products.
 */
#ifndef TITANBIT_H
#define TITANBIT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TB_ABI_VERSION 8
#define TB_API __attribute__((visibility("default")))

typedef int32_t tb_status;
enum {
  TB_OK = 0,
  TB_INVALID_ARGUMENT = 1,
  TB_UNSUPPORTED = 2,
  TB_OUT_OF_MEMORY = 3,
  TB_NO_DEVICE = 4,
  TB_IO = 5,
  TB_INTERNAL = 6,
};

/* Element types of activation tensors. The CPU build computes in TB_F32 and answers TB_UNSUPPORTED to TB_BF16. TB_I8 is for cached keys
 * and values alone. */
typedef int32_t tb_dtype;
enum { TB_F32 = 0, TB_BF16 = 1, TB_I8 = 2 };

/* What AdamW's moments are kept in; every build has all three. */
typedef int32_t tb_state_dtype;
enum {
  TB_STATE_F32 = 0,
  TB_STATE_BF16 = 1, /* rounded stochastically, by bits that depend on element, update and moment alone */
  TB_STATE_INT8 = 2, /* 8-bit codes with a float32 scale for every 256 elements */
};

/* Per-token activation quantiser of the norm ops. */
typedef int32_t tb_activation_quant;
enum {
  TB_QUANT_NONE = 0,    /* no integers: the normalised values themselves are the output */
  TB_QUANT_ABSMAX = 1,  /* int8, q = clamp(round(x * 127 / max|x|), -128, 127); arXiv:2402.17764 */
  TB_QUANT_ABSMEAN = 2, /* int4 range, q = clamp(round(x * sqrt(7) / mean|x|), -8, 7); arXiv:2411.04965 */
};

typedef int32_t tb_hidden_act;
enum { TB_SILU = 0, TB_RELU2 = 1 };

/* What the yardstick multiplies. */
typedef int32_t tb_peer_kind;
enum {
  TB_PEER_BF16 = 0, /* bfloat16 into bfloat16 */
  TB_PEER_FP16 = 1, /* IEEE half precision into half precision */
  TB_PEER_FP8 = 2,  /* e4m3 into bfloat16, fast accumulation */
  TB_PEER_INT8 = 3, /* int8 into int32 */
};

typedef struct tb_context tb_context;

/* ---- Library ------------------------------------------------------------------------------------------------ */

TB_API int32_t tb_abi_version(void);

/* Writes a JSON object that says what this build found: {"backend": "cpu" | "cuda", "devices": [...], ...}.
 * written: bytes of the text without its closing zero; TB_INVALID_ARGUMENT where capacity is too small. */
TB_API tb_status tb_describe(char* text, int64_t capacity, int64_t* written);

/* ---- Context ------------------------------------------------------------------------------------------------ */

/* device: index of the card (0 on the CPU); threads: OpenMP threads of the CPU build, 0 for all cores.
 * error: receives the reason where no context could be made. */
TB_API tb_status tb_context_create(int32_t device, int32_t threads, tb_context** context, char* error,
                                   int64_t error_capacity);
TB_API tb_status tb_context_destroy(tb_context* context);

/* Text of the context's last failed call, zero-terminated and cut to capacity. */
TB_API tb_status tb_last_error(tb_context* context, char* text, int64_t capacity);

/* Waits for every op of this context; errors of asynchronous ops surface here. */
TB_API tb_status tb_synchronize(tb_context* context);

/* ---- Graphs and events -------------------------------------------------------------------------------------- */

/* Ops between begin and end are recorded, not run; launch runs them as one, with the addresses and sizes that they were given.
 * Copies to and from the host can't be recorded. The CPU build answers TB_UNSUPPORTED. */
TB_API tb_status tb_graph_begin(tb_context* context);
TB_API tb_status tb_graph_end(tb_context* context, uint64_t* graph);
TB_API tb_status tb_graph_launch(tb_context* context, uint64_t graph);
TB_API tb_status tb_graph_destroy(tb_context* context, uint64_t graph);

/* An event is a point in the order of the ops. Elapsed waits for `to`; both must have been recorded. An event that is
 * recorded into a graph is passed by each of its launches. */
TB_API tb_status tb_event_create(tb_context* context, uint64_t* event);
TB_API tb_status tb_event_record(tb_context* context, uint64_t event);
TB_API tb_status tb_event_elapsed(tb_context* context, uint64_t from, uint64_t to, double* milliseconds);
TB_API tb_status tb_event_destroy(tb_context* context, uint64_t event);

/* ---- Memory ------------------------------------------------------------------------------------------------- */

TB_API tb_status tb_alloc(tb_context* context, int64_t bytes, uint64_t* address);
TB_API tb_status tb_free(tb_context* context, uint64_t address);
TB_API tb_status tb_copy_to_device(tb_context* context, uint64_t to, const void* from, int64_t bytes);
/* Synchronises: the bytes are there when it returns. */
TB_API tb_status tb_copy_to_host(tb_context* context, void* to, uint64_t from, int64_t bytes);
TB_API tb_status tb_copy(tb_context* context, uint64_t to, uint64_t from, int64_t bytes);
TB_API tb_status tb_fill(tb_context* context, uint64_t to, int32_t byte_value, int64_t bytes);
/* Memory that can be had now and in all: the card's; in the CPU build the host's, or its cgroup's where that is less. */
TB_API tb_status tb_memory(tb_context* context, int64_t* free_bytes, int64_t* total_bytes);

/* Fills n float32 with N(0, std²): Philox4x32-10 keyed by seed, counter (stream, index), Box-Muller in double.
 * The same numbers in both builds: computed on the host. */
TB_API tb_status tb_random_normal(tb_context* context, float* to, int64_t n, float std, uint64_t seed,
                                  uint64_t stream);

/* to (n) of to_dtype = from (n) of from_dtype, rounded to nearest even; NaN stays NaN. Every pair of dtypes, in both builds.
 * to may be from where the dtypes are equal. */
TB_API tb_status tb_cast(tb_context* context, tb_dtype from_dtype, const void* from, tb_dtype to_dtype, void* to,
                         int64_t n);

/* ---- Embedding ---------------------------------------------------------------------------------------------- */

/* out (N, D) f32 = table (V, D) f32 [ids (N)]. */
TB_API tb_status tb_embedding_forward(tb_context* context, const int32_t* ids, const float* table, float* out,
                                      int64_t N, int64_t D, int64_t V);
/* dtable (V, D) f32 += scatter of dout (N, D) of dout_dtype, rows added in the order of N. */
TB_API tb_status tb_embedding_backward(tb_context* context, const int32_t* ids, tb_dtype dout_dtype, const void* dout,
                                       float* dtable, int64_t N, int64_t D, int64_t V);
/* The CPU build refuses ids outside the table with TB_INVALID_ARGUMENT, as it does targets of tb_head_loss; the CUDA build,
 * which can't look at them without waiting, gives such a row NaN forward and skips it backward. */

/* ---- RMSNorm fused with the activation quantiser ------------------------------------------------------------ */

/* n = x * rsqrt(mean(x²) + eps) * weight, per row. quant != NONE: q (N, D) int8 and scale (N) f32 so that n ~ q * scale.
 * quant == NONE: y (N, D) of y_dtype. y may be given beside q. x of x_dtype; rstd (N) f32 is saved for the backward. */
TB_API tb_status tb_rmsnorm_forward(tb_context* context, tb_dtype x_dtype, const void* x, const float* weight,
                                    float eps, tb_activation_quant quant, int8_t* q /*[null]*/,
                                    float* scale /*[null]*/, tb_dtype y_dtype, void* y /*[null]*/,
                                    float* rstd /*[null]*/, int64_t N, int64_t D);
/* The quantiser passes gradients unchanged (straight-through). dy (N, D) of dy_dtype; dx (N, D) of dx_dtype, by accumulate;
 * dweight (D) f32 is added to. */
TB_API tb_status tb_rmsnorm_backward(tb_context* context, tb_dtype dy_dtype, const void* dy, tb_dtype x_dtype,
                                     const void* x, const float* weight, const float* rstd, tb_dtype dx_dtype,
                                     void* dx, float* dweight, int64_t N, int64_t D, int32_t accumulate);

/* ---- Weight quantisation and 2-bit packing ------------------------------------------------------------------ */

/* beta = mean|w| over the whole (rows, cols) matrix; q = clamp(round(w / max(beta, 1e-5)), -1, 1), half to even;
 * scale (rows) f32 receives max(beta, 1e-5) in every element, so that matrices stacked into one product keep their own. */
TB_API tb_status tb_quantize_weight(tb_context* context, const float* w, int8_t* q, float* scale, int64_t rows,
                                    int64_t cols);
/* packed (rows, ceil(cols / 16)) int32: value j of a row sits in bits 2(j % 16) of word j / 16 as q + 1; code 1 (zero) pads. */
TB_API tb_status tb_pack_ternary(tb_context* context, const int8_t* q, int32_t* packed, int64_t rows, int64_t cols);
TB_API tb_status tb_unpack_ternary(tb_context* context, const int32_t* packed, int8_t* q, int64_t rows,
                                   int64_t cols);

/* ---- Statistics of a ternary run ------------------------------------------------------------------------------ */

/* counts (5) int64 over a matrix w (rows, cols), its ternary form q and scale (rows), of which the first is read: values of q that
 * are -1, 0 and 1; values of q that differ from previous (rows, cols), [null]: 0; weights near a threshold of the quantiser,
 * (0.5 - margin) * scale <= |w| <= (0.5 + margin) * scale, margin 0 to 0.5, the bounds in float32. Exact, the same in every build. */
TB_API tb_status tb_ternary_statistics(tb_context* context, const float* w, const int8_t* q,
                                       const int8_t* previous /*[null]*/, const float* scale, float margin, int64_t rows,
                                       int64_t cols, int64_t* counts);
/* counts (2) int64 over a quantised input q (N, D): zeros, and values at the quantiser's limits, -127 and 127 (ABSMAX) or -8 and 7
 * (ABSMEAN). scales (2) f32: mean of scale (N), summed in double in a fixed order, and its maximum, which skips NaN and is 0 at
 * least. */
TB_API tb_status tb_quantized_statistics(tb_context* context, tb_activation_quant quant, const int8_t* q, const float* scale,
                                         int64_t N, int64_t D, int64_t* counts, float* scales);

/* ---- Matrix products ---------------------------------------------------------------------------------------- */

/* y (M, N) = (x (M, K) int8 . wᵀ, w (N, K) in {-1, 0, 1}) * x_scale (M) * w_scale (N) + residual (M, N).
 * The integer product is exact. y and residual share dtype; y may be residual. */
TB_API tb_status tb_gemm_ternary_forward(tb_context* context, const int8_t* x, const float* x_scale,
                                         const int8_t* w, const float* w_scale, tb_dtype dtype,
                                         const void* residual /*[null]*/, void* y, int64_t M, int64_t N, int64_t K);
/* The same from 2-bit weights, equal to the last bit. */
TB_API tb_status tb_gemm_ternary_packed_forward(tb_context* context, const int8_t* x, const float* x_scale,
                                                const int32_t* packed, const float* w_scale, tb_dtype dtype,
                                                const void* residual /*[null]*/, void* y, int64_t M, int64_t N,
                                                int64_t K);
/* dx (M, K) = dy (M, N) . (w_scale (N) * w (N, K)). */
TB_API tb_status tb_gemm_ternary_backward_input(tb_context* context, tb_dtype dtype, const void* dy,
                                                const int8_t* w, const float* w_scale, void* dx, int64_t M,
                                                int64_t N, int64_t K, int32_t accumulate);
/* dw (N, K) of dw_dtype = dyᵀ (N, M) . (x_scale (M) * x (M, K)); sums, and the addition to what dw held, in float32, rounded once
 * to dw_dtype (cuBLASLt: to within a unit of bfloat16's last place where it adds). CUDA: TB_BF16 where dy is; the CPU build answers
 * TB_UNSUPPORTED to it. */
TB_API tb_status tb_gemm_ternary_backward_weight(tb_context* context, tb_dtype dtype, const void* dy,
                                                 const int8_t* x, const float* x_scale, tb_dtype dw_dtype, void* dw,
                                                 int64_t M, int64_t N, int64_t K, int32_t accumulate);
/* c (M, N) of c_dtype = op(a) . op(b) + residual; a is (M, K), or (K, M) where transpose_a; b is (K, N), or (N, K) where
 * transpose_b; both of dtype. c may be residual. */
TB_API tb_status tb_gemm(tb_context* context, tb_dtype dtype, const void* a, const void* b, tb_dtype c_dtype,
                         const void* residual /*[null]*/, void* c, int64_t M, int64_t N, int64_t K,
                         int32_t transpose_a, int32_t transpose_b);
/* y (M, N) f32 = (Q(x) . wᵀ) * s_x (M) * w_scale (N): x (M, K) of dtype, quantised row by row as TB_QUANT_ABSMAX with its scale s_x
 * on the way; w (N, K) int8. K is 1 to 32768. The integer product is exact; the same bits in both builds from equal x. */
TB_API tb_status tb_gemm_int8(tb_context* context, tb_dtype dtype, const void* x, const int8_t* w, const float* w_scale,
                              float* y, int64_t M, int64_t N, int64_t K);

/* The yardstick of benchmarks, no part of any model: c (M, N) = a (M, K) . bᵀ, b (N, K), by NVIDIA's cuBLASLt; sums in float32
 * (INT8: int32). Any of its ways to divide the depth is allowed, so that the bits of c may differ between runs. TB_UNSUPPORTED where
 * the library was not found, is not wanted (TITANBIT_NO_CUBLAS=1), or has no such product on the card; always in the CPU build.
 *
 * count (1) receives how many algorithms the library offers, at least 1, its own favourite first. */
TB_API tb_status tb_peer_algorithms(tb_context* context, tb_peer_kind kind, int64_t M, int64_t N, int64_t K,
                                    int32_t* count);
/* algorithm: 0 .. count - 1. a, b and c are aligned to 256 bytes. */
TB_API tb_status tb_peer_gemm(tb_context* context, tb_peer_kind kind, int32_t algorithm, const void* a, const void* b,
                              void* c, int64_t M, int64_t N, int64_t K);

/* ---- Rotary embedding fused with the split into heads ------------------------------------------------------- */

/* qkv (B*T, (H + 2G) * E) -> q (B, H, T, E), k and v (B, G, capacity, E) from token start[b] on. Halves are rotated:
 * (x[j], x[j + E/2]) by the angle of token start[b] + t. cos_sin (positions, E) f32 holds E/2 cosines, then E/2 sines a row.
 * start (B) int32 [null]: zeros. Training uses capacity = T. k and v are of
 * cache_dtype: dtype; on the CPU also TB_BF16, rounded to nearest even; or TB_I8 with k_scale and v_scale (B, G, capacity) f32, for
 * that dtype alone: each token's head by a scale of its own, gamma = max(max|x|, 1e-30), q = round(x * (127 / gamma)) half to even,
 * scale = gamma / 127, each rounded to float32; where gamma is not finite, q = 1. */
TB_API tb_status tb_rope_forward(tb_context* context, tb_dtype dtype, const void* qkv, const float* cos_sin,
                                 const int32_t* start /*[null]*/, void* q, tb_dtype cache_dtype, void* k, void* v,
                                 float* k_scale /*[null]*/, float* v_scale /*[null]*/, int64_t B, int64_t T, int64_t H,
                                 int64_t G, int64_t E, int64_t capacity, int64_t positions);
/* dq (B, H, T, E), dk, dv (B, G, T, E) -> dqkv (B*T, (H + 2G) * E). */
TB_API tb_status tb_rope_backward(tb_context* context, tb_dtype dtype, const void* dq, const void* dk,
                                  const void* dv, const float* cos_sin, void* dqkv, int64_t B, int64_t T, int64_t H,
                                  int64_t G, int64_t E, int64_t positions);

/* ---- Causal attention --------------------------------------------------------------------------------------- */

/* o (B*T, H*E) = softmax(scale * q kᵀ, causal) v, without the T x T matrix; lse (B, H, T) f32 is the log of each row's sum
 * of exponentials. Query head h reads key/value head h / (H / G). scale > 0; E is 1 to 256, in all three. */
TB_API tb_status tb_attention_forward(tb_context* context, tb_dtype dtype, const void* q, const void* k,
                                      const void* v, void* o, float* lse, float scale, int64_t B, int64_t T,
                                      int64_t H, int64_t G, int64_t E);
/* dout (B*T, H*E) and the forward's tensors -> dq (B, H, T, E), dk, dv (B, G, T, E); delta (B, H, T) f32 is scratch. */
TB_API tb_status tb_attention_backward(tb_context* context, tb_dtype dtype, const void* dout, const void* q,
                                       const void* k, const void* v, const void* o, const float* lse, float* delta,
                                       void* dq, void* dk, void* dv, float scale, int64_t B, int64_t T, int64_t H,
                                       int64_t G, int64_t E);
/* Prefill and decoding: query t of sequence b sees cache tokens 0 .. start[b] + t. k_cache, v_cache (B, G, capacity, E) of
 * cache_dtype: dtype; on the CPU also TB_BF16, whose values are widened and give the bits that float32 ones would; or TB_I8, each
 * token's head times its scale of k_scale, v_scale (B, G, capacity) f32, which are for that dtype alone. A sequence's results depend
 * neither on the other sequences nor on the capacity, but for prefills that fill the scratch. */
TB_API tb_status tb_attention_decode(tb_context* context, tb_dtype dtype, const void* q, tb_dtype cache_dtype,
                                     const void* k_cache, const void* v_cache, const float* k_scale /*[null]*/,
                                     const float* v_scale /*[null]*/, const int32_t* start, void* o, float scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E,
                                     int64_t capacity);

/* A token of each sequence, or several: tb_rope_forward of qkv (B * T, (H + 2G) E) into q (B, H, T, E), which may be left unwritten,
 * and the caches, then tb_attention_decode of them into o (B * T, H E), equal to the last bit. o and q must not overlap qkv. */
TB_API tb_status tb_rope_attention_decode(tb_context* context, tb_dtype dtype, const void* qkv, const float* cos_sin,
                                          const int32_t* start, void* q, tb_dtype cache_dtype, void* k_cache, void* v_cache,
                                          float* k_scale /*[null]*/, float* v_scale /*[null]*/, void* o, float scale,
                                          int64_t B, int64_t T, int64_t H, int64_t G, int64_t E, int64_t capacity,
                                          int64_t positions);

/* ---- Gated linear unit fused with its sub-norm and the activation quantiser --------------------------------- */

/* h = act(gate) * up of gate_up (N, 2F) = [gate | up]; then as tb_rmsnorm_forward over F. */
TB_API tb_status tb_glu_norm_forward(tb_context* context, tb_dtype dtype, const void* gate_up, tb_hidden_act act,
                                     const float* weight, float eps, tb_activation_quant quant,
                                     int8_t* q /*[null]*/, float* scale /*[null]*/, void* y /*[null]*/,
                                     float* rstd /*[null]*/, int64_t N, int64_t F);
/* dy (N, F) -> dgate_up (N, 2F); dweight (F) f32 is added to. dgate_up must not be gate_up. */
TB_API tb_status tb_glu_norm_backward(tb_context* context, tb_dtype dtype, const void* dy, const void* gate_up,
                                      tb_hidden_act act, const float* weight, const float* rstd, void* dgate_up,
                                      float* dweight, int64_t N, int64_t F);

/* ---- Head and loss ------------------------------------------------------------------------------------------ */

/* Cross-entropy of x (N, D) . headᵀ, head (V, D), both of dtype, against targets (N), chunk by chunk: the logits of as many
 * rows as fit workspace_bytes exist at a time; a row needs 4 V bytes, in TB_BF16 with a gradient 6 V, and there must be room for
 * one. loss (N) f32; a target < 0 is ignored: loss 0, no gradient. With dx (N, D) of dtype: dx = grad_scale * dloss/dx, and
 * dhead (V, D) f32 is added to. A target >= V: TB_INVALID_ARGUMENT (CPU), a loss and a gradient of NaN (CUDA). */
TB_API tb_status tb_head_loss(tb_context* context, tb_dtype dtype, const void* x, const void* head,
                              const int32_t* targets, float* loss, void* dx /*[null]*/, float* dhead /*[null]*/,
                              float grad_scale, void* workspace, int64_t workspace_bytes, int64_t N, int64_t D,
                              int64_t V);

/* Cross-entropy of logits (N, V) f32 against t = (1 - teacher_weight) ((1 - smoothing) onehot(targets) + smoothing / V) +
 * teacher_weight softmax(teacher), teacher (N, V) f32, given exactly where its weight is above 0; smoothing and teacher_weight are 0 to 1.
 * loss (N) f32. dlogits (N, V) of dlogits_dtype = grad_scale * dloss/dlogits; in TB_F32 it may be the logits. Targets as tb_head_loss
 * takes them. */
TB_API tb_status tb_cross_entropy(tb_context* context, const float* logits, const int32_t* targets,
                                  const float* teacher /*[null]*/, float smoothing, float teacher_weight, float* loss,
                                  tb_dtype dlogits_dtype, void* dlogits /*[null]*/, float grad_scale, int64_t N,
                                  int64_t V);

/* ---- Choosing tokens ---------------------------------------------------------------------------------------- */

/* values (N, k) f32 and ids (N, k) int32: the k largest of the first V of each row of logits (N, stride) f32, largest first; of equal
 * ones the lower id first; NaN before every number, -0 as 0. k is 1 to min(V, 256). The same in both builds. */
TB_API tb_status tb_top_k(tb_context* context, const float* logits, float* values, int32_t* ids, int64_t N, int64_t V,
                          int64_t stride, int64_t k);

/* ---- Reductions and the optimizer --------------------------------------------------------------------------- */

/* out (1) f32 = scale * sum of x (n) f32 (+ out by accumulate); summed in double in blocks of fixed size. */
TB_API tb_status tb_sum(tb_context* context, const float* x, float scale, float* out, int64_t n,
                        int32_t accumulate);
/* out (1) f32 = sqrt(sum x² (+ out² by accumulate)) of x (n) of dtype, in double, blocks of fixed size; not finite where any x, or
 * the out that is added to, is not. Both dtypes in both builds. */
TB_API tb_status tb_norm(tb_context* context, tb_dtype dtype, const void* x, float* out, int64_t n,
                         int32_t accumulate);

/* hyper (8) f32 on the device: lr, beta1, beta2, eps, weight_decay, 1 - beta1^t, 1 - beta2^t, max_grad_norm (0: no clipping).
 *
 * Begins update t, once for all groups: where grad_norm[0] is finite, updates (1) on the device becomes t = updates + 1. Then
 * elements 5 and 6 of each group's hyper (groups, 8) are written from its betas and max(updates, 1), in double, rounded once. Where
 * the norm is not finite, updates stays, so that a step that is left out leaves no trace. The host need not know: norms, begin
 * and updates can be recorded as one graph. */
TB_API tb_status tb_adamw_begin(tb_context* context, const float* grad_norm, int32_t* updates, float* hyper,
                                int64_t groups);

/* g is multiplied by min(1, max_grad_norm / grad_norm[0]). AdamW (arXiv:1711.05101), in float32 whatever the dtypes of g and moments:
 *   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g²;  w = w (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps).
 * A grad_norm that is not finite leaves w, m and v untouched. Every operation is rounded on its own, in one order: the same bits in
 * both builds.
 *
 * m and v (n), by state_dtype:
 *   TB_STATE_F32   float32.
 *   TB_STATE_BF16  bfloat16, each of its two neighbours with the chance that leaves the mean: nearest would keep v where it is as soon
 *                  as (1 - b2) g² is below half a unit of its last place. The random bits hash element and updates[0].
 *   TB_STATE_INT8  uint8 codes: element i is map[code] * absmax[i / 256], absmax (ceil(n / 256)) f32 each. The maps are bitsandbytes'
 *                  dynamic ones of 8 bits, signed for m and unsigned for v; the nearest entry is taken, but a v above 0 never becomes
 *                  0: then m / (sqrt(0) + eps) would be unbounded. Fresh moments: m's codes 127, v's 0, or absmax 0.
 * updates: for TB_STATE_BF16 alone; m_absmax, v_absmax: for TB_STATE_INT8 alone. */
TB_API tb_status tb_adamw(tb_context* context, float* w, tb_dtype g_dtype, const void* g, tb_state_dtype state_dtype, void* m,
                          void* v, float* m_absmax /*[null]*/, float* v_absmax /*[null]*/, const float* hyper,
                          const float* grad_norm, const int32_t* updates /*[null]*/, int64_t n);

/* ---- Token files (host code, the same in every build; symbols in lib/ffi/symbols/token_file.ts) ----------------- */

/* Maps a regular, non-empty file read-only, whole. error: receives the reason; TB_IO. */
TB_API tb_status tb_file_map(const char* path, uint64_t* address, int64_t* bytes, char* error,
                             int64_t error_capacity);
/* advice: 0 normal, 1 sequential, 2 random, 3 read ahead now; bytes from the mapping's start. */
TB_API tb_status tb_file_advise(uint64_t address, int64_t bytes, int32_t advice);
TB_API tb_status tb_file_unmap(uint64_t address, int64_t bytes);
/* Sequences straight out of mapped token files, into host memory: windows (B) addresses of T + 1 tokens, of widths (B) 2 or 4
 * bytes each; ids (B, T), targets (B, T), shifted by one, [null]: then T tokens a window are read. A token >= vocab_size: TB_INVALID_ARGUMENT with
 * bad[0] = window, bad[1] = position, bad[2] = token; a page that can't be read in, as the file was cut short or its disk failed:
 * TB_IO with bad[0] = window. ids and targets are then not to be used. */
TB_API tb_status tb_gather_windows(const uint64_t* windows, const int32_t* widths, int64_t B, int64_t T,
                                   int64_t vocab_size, int32_t* ids, int32_t* targets /*[null]*/, int64_t* bad);

/* ---- Tokenizer (host code, the same in every build; symbols in lib/ffi/symbols/tokenizer.ts) ------------------- */

/* A handle is for one thread at a time. Several handles know nothing of each other. */
typedef struct tb_tokenizer tb_tokenizer;
typedef struct tb_tokenizer_trainer tb_tokenizer_trainer;

/* spec: a BPE tokenizer.json in the binary form of lib/tokenizer/native_spec.ts. error: receives what is wrong with it. */
TB_API tb_status tb_tokenizer_create(const uint8_t* spec, int64_t spec_bytes, tb_tokenizer** tokenizer, char* error,
                                     int64_t error_capacity);
TB_API tb_status tb_tokenizer_destroy(tb_tokenizer* tokenizer);

/* Encodes documents that lie end to end in text; document d ends before byte ends[d]. After each one end_id is written,
 * where it is not negative. id_ends (documents): ids written when document d was done; count: ids in all. Where capacity
 * is too small: TB_INVALID_ARGUMENT, count says what is needed. 2 * (bytes + documents) is always enough.
 * specials_as_text: 1 to read special tokens' names as plain text. Bytes that are no UTF-8 are encoded as bytes. */
TB_API tb_status tb_tokenizer_encode(tb_tokenizer* tokenizer, const uint8_t* text, const double* ends, int64_t documents,
                                     int64_t end_id, int32_t specials_as_text, uint32_t* ids, int64_t capacity,
                                     double* id_ends, int64_t* count);

/* mode 0: the tokens' own bytes, end to end; 1: without the space that the decoder of tokenizer.json takes off the beginning;
 * 3: also with U+FFFD for every byte token of a run that is no UTF-8. Where capacity is too small: TB_INVALID_ARGUMENT, written
 * says what is needed; where ids[i] is beyond the vocabulary, written is -1 - i. */
TB_API tb_status tb_tokenizer_decode(tb_tokenizer* tokenizer, const uint32_t* ids, int64_t count, int32_t mode,
                                     uint8_t* bytes, int64_t capacity, int64_t* written);

/* Learns a vocabulary. kind: 0 byte-level with the GPT-2 split, 1 SentencePiece-style with byte fallback. Ids: specials first,
 * then 256 bytes, then (kind 1) the alphabet, then merges. memory_limit: bytes of the table of words, of which the rarest are
 * dropped beyond it. threads: 0 for all cores; their number changes no result. */
TB_API tb_status tb_tokenizer_trainer_create(int32_t kind, int64_t specials, int64_t vocab_size, int64_t min_frequency,
                                             int64_t memory_limit, int32_t threads, tb_tokenizer_trainer** trainer);
TB_API tb_status tb_tokenizer_trainer_destroy(tb_tokenizer_trainer* trainer);
/* Counts the words of one text, which is not kept. Not after the first step. */
TB_API tb_status tb_tokenizer_trainer_add(tb_tokenizer_trainer* trainer, const uint8_t* text, int64_t bytes);
/* Learns up to `tokens` tokens more. progress (4): tokens learned, to be learned in all (equal when done), merges, alphabet. */
TB_API tb_status tb_tokenizer_trainer_step(tb_tokenizer_trainer* trainer, int64_t tokens, int64_t* progress);
/* merges (merge_count, 3): ids left, right, result, by rank; alphabet: code points. The counts must be those of progress. */
TB_API tb_status tb_tokenizer_trainer_result(tb_tokenizer_trainer* trainer, uint32_t* merges, int64_t merge_count,
                                             uint32_t* alphabet, int64_t alphabet_count);

#ifdef __cplusplus
}
#endif

#endif
