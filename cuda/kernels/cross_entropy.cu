// Cross-entropy of rows of logits against a mix of targets, and its gradient: what losses on logits are made of.
//
//   p = softmax(logits), q = softmax(teacher);
//   t = (1 - w) ((1 - s) onehot(target) + s / V) + w q, with s smoothing and w teacher_weight;
//   loss = sum t (log(sum exp(logits - max)) + max - logits), float32;  dlogits = grad_scale * (p - t), rounded to its dtype; in
//   float32 it may be the logits.
// A block a row. Sums: a thread's own columns, then a fixed tree. Ignored rows (target < 0) have loss and dlogits 0; a target >= V makes
// the row's loss and dlogits NaN. Written as max - logits, every term of the loss is at least 0, so that none cancels another.
#include "context.cuh"
#include "load_store.cuh"
#include "reduce.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 512;

__device__ __forceinline__ float largest(const float* row, int64_t V) {
  float top = -__int_as_float(0x7f800000);
  for (int64_t j = threadIdx.x; j < V; j += kThreads) top = fmaxf(top, row[j]);  // passes over NaN, which reaches the sums
  return block_max<kThreads>(top);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) mixed_cross_entropy(const float* logits, const int32_t* __restrict__ targets,
                                                                const float* __restrict__ teacher, float smoothing,
                                                                float teacher_weight, float* __restrict__ loss, T* dlogits,
                                                                float grad_scale, int64_t V) {
  const int64_t row = blockIdx.x;
  const int64_t target = targets[row];
  const float* from = logits + row * V;
  T* to = dlogits == nullptr ? nullptr : dlogits + row * V;
  if (target < 0 || target >= V) {
    const float filler = target < 0 ? 0.0f : __int_as_float(0x7fffffff);
    if (threadIdx.x == 0) loss[row] = filler;
    if (to != nullptr)
      for (int64_t j = threadIdx.x; j < V; j += kThreads) to[j] = from_float<T>(filler);
    return;
  }
  const float* taught = teacher == nullptr ? nullptr : teacher + row * V;
  const float max = largest(from, V);
  const float teacher_max = taught == nullptr ? 0.0f : largest(taught, V);
  float own_sum = 0, distances = 0, teacher_sum = 0, taught_distances = 0;
  for (int64_t j = threadIdx.x; j < V; j += kThreads) {
    const float distance = max - from[j];
    own_sum += expf(-distance);
    distances += distance;
    if (taught != nullptr) {
      const float weight = expf(taught[j] - teacher_max);
      teacher_sum += weight;
      taught_distances += weight * distance;
    }
  }
  const float denominator = block_sum<kThreads>(own_sum);
  const float hard = (1 - teacher_weight) * (1 - smoothing), even = (1 - teacher_weight) * smoothing;
  float value = hard * (max - from[target]);
  if (smoothing > 0) value += even * (block_sum<kThreads>(distances) / float(V));
  float teacher_factor = 0;
  if (taught != nullptr) {
    teacher_factor = teacher_weight / block_sum<kThreads>(teacher_sum);
    value += teacher_factor * block_sum<kThreads>(taught_distances);
  }
  if (threadIdx.x == 0) loss[row] = value + logf(denominator);
  if (to == nullptr) return;
  __syncthreads();  // every thread has read the target's logit, which may lie where dlogits goes
  const float factor = grad_scale / denominator, less = grad_scale * even / float(V);
  for (int64_t j = threadIdx.x; j < V; j += kThreads) {
    float slope = expf(from[j] - max) * factor - less - (j == target ? grad_scale * hard : 0.0f);
    if (taught != nullptr) slope -= expf(taught[j] - teacher_max) * (grad_scale * teacher_factor);
    to[j] = from_float<T>(slope);
  }
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_cross_entropy(tb_context* context, const float* logits, const int32_t* targets, const float* teacher,
                                      float smoothing, float teacher_weight, float* loss, tb_dtype dlogits_dtype,
                                      void* dlogits, float grad_scale, int64_t N, int64_t V) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dlogits_dtype, "tb_cross_entropy");
  TB_REQUIRE(context, N >= 0 && N <= INT32_MAX && V >= 1 && V <= INT32_MAX,
             "Cannot run tb_cross_entropy as N must be 0 to 2^31 - 1 and V 1 to 2^31 - 1: current values are %lld and %lld",
             (long long)N, (long long)V);
  TB_REQUIRE(context, smoothing >= 0 && smoothing <= 1 && teacher_weight >= 0 && teacher_weight <= 1,
             "Cannot run tb_cross_entropy as smoothing and teacher_weight must be 0 to 1: current values are %g and %g",
             double(smoothing), double(teacher_weight));
  TB_REQUIRE(context, (teacher != nullptr) == (teacher_weight > 0),
             "Cannot run tb_cross_entropy as a teacher must be given where teacher_weight is above 0, and nowhere else: current "
             "value is %g %s one",
             double(teacher_weight), teacher == nullptr ? "without" : "with");
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, logits != nullptr && targets != nullptr && loss != nullptr,
             "Cannot run tb_cross_entropy as logits, targets or loss is null");
  TB_WITH_TYPE(dlogits_dtype, T, {
    tb::mixed_cross_entropy<T><<<unsigned(N), tb::kThreads, 0, context->stream>>>(logits, targets, teacher, smoothing,
                                                                                  teacher_weight, loss, static_cast<T*>(dlogits),
                                                                                  grad_scale, V);
  });
  return tb::launched(context, "tb_cross_entropy");
}
