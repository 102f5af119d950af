// Cross-entropy of rows of logits against a mix of targets, and its gradient: what losses on logits are made of.
//
//   p = softmax(logits), q = softmax(teacher);
//   t = (1 - w) ((1 - s) onehot(target) + s / V) + w q, with s smoothing and w teacher_weight;
//   loss = sum t (log(sum exp(logits - max)) + max - logits), float32;  dlogits = grad_scale * (p - t), which may be the logits.
// Sums have one accumulator a vector lane, a fixed tree over the lanes; one thread a row. Ignored rows (target < 0) have loss and
// dlogits 0. Written as max - logits, every term of the loss is at least 0, so that none cancels another.
#include <omp.h>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, cross_entropy,
           (tb_context * context, const float* logits, const int32_t* targets, const float* teacher, float smoothing,
            float teacher_weight, float* loss, float* dlogits, float grad_scale, int64_t N, int64_t V))

namespace tb::TB_ISA {

static float largest(const float* row, int64_t V) {
  const int64_t whole = V / kLanes * kLanes;
  vfloat top = splat(-__builtin_inff());
  for (int64_t j = 0; j < whole; j += kLanes) top = larger(load(row + j), top);
  float max = maximum(top);
  for (int64_t j = whole; j < V; ++j) max = row[j] > max ? row[j] : max;
  return max;
}

// The sum over a row of what `term` gives for a vector of it from column j on, of which the first `count` lanes are in the row.
template <class Term>
TB_INLINE float sum_row(int64_t V, Term term) {
  const int64_t whole = V / kLanes * kLanes;
  vfloat total = {};
  for (int64_t j = 0; j < whole; j += kLanes) total += term(j, kLanes);
  float rest = 0;
  if (whole < V) {
    float lanes[kLanes];
    store(lanes, term(whole, V - whole));
    for (int64_t lane = 0; lane < V - whole; ++lane) rest += lanes[lane];
  }
  return sum(total) + rest;
}

TB_INLINE vfloat load_part(const float* from, int64_t count) { return count == kLanes ? load(from) : load_first(from, count); }
TB_INLINE void store_part(float* to, vfloat value, int64_t count) {
  if (count == kLanes)
    store(to, value);
  else
    store_first(to, value, count);
}

// Loss of one row; its gradient goes to dlogits, where that is not null.
static float mixed_row(const float* logits, int64_t target, const float* teacher, float smoothing, float teacher_weight,
                       float* dlogits, float grad_scale, int64_t V) {
  const float max = largest(logits, V);
  const float distance = max - logits[target];
  const float denominator = sum_row(V, [&](int64_t j, int64_t count) { return exp_below(load_part(logits + j, count) - max); });
  const float hard = (1 - teacher_weight) * (1 - smoothing), even = (1 - teacher_weight) * smoothing;
  float loss = hard * distance;
  if (smoothing > 0)
    loss += even * (sum_row(V, [&](int64_t j, int64_t count) { return max - load_part(logits + j, count); }) / float(V));
  float teacher_max = 0, teacher_factor = 0;
  if (teacher != nullptr) {
    teacher_max = largest(teacher, V);
    const auto weight = [&](int64_t j, int64_t count) { return exp_below(load_part(teacher + j, count) - teacher_max); };
    teacher_factor = teacher_weight / sum_row(V, weight);
    loss += teacher_factor *
            sum_row(V, [&](int64_t j, int64_t count) { return weight(j, count) * (max - load_part(logits + j, count)); });
  }
  if (dlogits != nullptr) {
    const float factor = grad_scale / denominator, less = grad_scale * even / float(V);
    const float teacher_less = grad_scale * teacher_factor;
    for (int64_t j = 0; j < V; j += kLanes) {
      const int64_t count = smaller(kLanes, V - j);
      vfloat slope = exp_below(load_part(logits + j, count) - max) * factor - less;
      if (teacher != nullptr) slope -= exp_below(load_part(teacher + j, count) - teacher_max) * teacher_less;
      store_part(dlogits + j, slope, count);
    }
    dlogits[target] -= grad_scale * hard;
  }
  return loss + log(denominator);
}

void cross_entropy(tb_context* context, const float* logits, const int32_t* targets, const float* teacher, float smoothing,
                   float teacher_weight, float* loss, float* dlogits, float grad_scale, int64_t N, int64_t V) {
#pragma omp parallel for num_threads(context->threads) schedule(static) if (N > 1)
  for (int64_t row = 0; row < N; ++row) {
    float* to = dlogits == nullptr ? nullptr : dlogits + row * V;
    if (targets[row] >= 0) {
      loss[row] = mixed_row(logits + row * V, targets[row], teacher == nullptr ? nullptr : teacher + row * V, smoothing,
                            teacher_weight, to, grad_scale, V);
    } else {
      loss[row] = 0;
      if (to != nullptr)
        for (int64_t j = 0; j < V; ++j) to[j] = 0;
    }
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_cross_entropy(tb_context* context, const float* logits, const int32_t* targets, const float* teacher,
                                      float smoothing, float teacher_weight, float* loss, tb_dtype dlogits_dtype,
                                      void* dlogits, float grad_scale, int64_t N, int64_t V) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dlogits_dtype, "tb_cross_entropy");
  TB_REQUIRE(context, N >= 0 && V >= 1,
             "Cannot run tb_cross_entropy as N must be at least 0 and V at least 1: current values are %lld and %lld",
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
  for (int64_t row = 0; row < N; ++row)
    TB_REQUIRE(context, targets[row] < V,
               "Cannot run tb_cross_entropy as targets must lie below %lld: current value at %lld is %d", (long long)V,
               (long long)row, int(targets[row]));
  TB_DISPATCH(context, cross_entropy,
              (context, logits, targets, teacher, smoothing, teacher_weight, loss, static_cast<float*>(dlogits), grad_scale, N,
               V));
  return TB_OK;
}

#endif
