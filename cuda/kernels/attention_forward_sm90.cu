// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The forward pass of attention_forward.cu on Hopper's tensor cores, for training: queries and keys begin at the same token. The same
// operands and roundings; keys are taken in order from the last that a query sees to the first, so that only the first step is masked.
//
// A block has 128 queries, two groups of four warps own 64 each. One thread orders copies of keys and values into a ring. A step of a
// group is
//
//   products   S = q . kᵀ | o += P . v of the step before
//   others                | maxima, P = exp2(S - largest), sums | factor of o, P to bfloat16
//
// The groups order their products in turns: whatever of the tensor cores a group's softmax leaves free is the other's.
//
// Blocks stay: the next queries are drawn from a counter, most keys first, and come while the last are finished. Which block computes
// a tile changes no bit.
#include <type_traits>

#include "attention_sm90.cuh"

#if defined(__CUDA_ARCH__) && !defined(TB_HAS_HOPPER_CODE)
#pragma nv_diag_suppress 177  // for other architectures the kernel is empty, and nobody uses what it is made of
#endif

namespace tb {
namespace {

// ---- Tiles --------------------------------------------------------------------------------------------------------------

constexpr int kQueries = kGroups * kTokens;  // of a block
constexpr int kMovers = 2;                   // warps that move rows of a stage, one its keys and one its values

template <int E>
struct ForwardSizes {
  using Head = HopperHead<E>;
  static constexpr int kKeyTiles = Head::kHalves == 1 ? 2 : 1, kKeys = kKeyTiles * kTokens;  // a step
  static constexpr int kStages = Head::kHalves == 1 ? 6 : 5;
  static constexpr int kScores = kKeys / 2;  // of a thread: 64 queries x kKeys
  static constexpr int kQueryBytes = kGroups * Head::kTileBytes, kKeyBytes = kKeyTiles * Head::kTileBytes;
  static constexpr int kStageBytes = 2 * kKeyBytes;
  static constexpr int kStagesAt = 2 * kQueryBytes;  // queries of this tile and the next
  static constexpr int kBarriers = kStagesAt + kStages * kStageBytes;
  static constexpr int kSlots = kBarriers + RingBarriers<2, Head::kPaired>::kBytes + RingBarriers<kStages, Head::kPaired>::kBytes;
  static constexpr int kMarks = kSlots + 2 * int(sizeof(int));  // of the two rings
  static constexpr int kSharedBytes = kMarks + (2 + kStages) * int(sizeof(int));
};

struct ForwardMaps {
  HeadMaps q, k, v;
};

struct ForwardWork {
  bf16* o;
  float* lse;
  int* counter;  // tiles drawn, beyond the first of each block
  int T, H, G;
  float scale;
  TileOrder order;
};

// ---- Device: which tile, which steps ---------------------------------------------------------------------------------------

template <class Sizes>
struct ForwardPlace {
  int b, head, group;
  int first;  // query
  int steps;  // of keys, of which the first are the last

  __device__ __forceinline__ ForwardPlace(const ForwardWork& work, int index) {
    int rank;
    work.order.place(index, head, rank);
    b = head / work.H;
    head %= work.H;
    group = head / (work.H / work.G);
    first = (work.order.tiles - 1 - rank) * kQueries;  // later queries see more keys: they go first
    steps = (min(first + kQueries, work.T) + Sizes::kKeys - 1) / Sizes::kKeys;
  }
};

template <class Sizes>
struct ForwardShared {
  using Head = typename Sizes::Head;
  uint32_t base;
  RingBarriers<2, Head::kPaired> query_ring;
  RingBarriers<Sizes::kStages, Head::kPaired> ring;

  __device__ __forceinline__ explicit ForwardShared(uint32_t base)
      : base(base), query_ring{base + Sizes::kBarriers}, ring{base + Sizes::kBarriers + RingBarriers<2, Head::kPaired>::kBytes} {}
  __device__ __forceinline__ uint32_t queries(int stage, int group) const {
    return base + stage * Sizes::kQueryBytes + group * Sizes::Head::kTileBytes;
  }
  __device__ __forceinline__ uint32_t keys(int stage) const { return base + Sizes::kStagesAt + stage * Sizes::kStageBytes; }
  __device__ __forceinline__ uint32_t values(int stage) const { return keys(stage) + Sizes::kKeyBytes; }
};

// ---- Device: the two kinds of warps -----------------------------------------------------------------------------------------

// One thread.
template <class Sizes>
__device__ __forceinline__ void bring_tiles(const ForwardMaps& maps, const ForwardWork& work, const ForwardShared<Sizes>& shared,
                                            volatile int* slots, volatile int* marks) {
  using Head = typename Sizes::Head;
  RingPlace<2> own;
  RingPlace<Sizes::kStages> ring;
  int index = int(blockIdx.x);
  for (;;) {
    wait_phase(shared.query_ring.free(own.stage), own.parity ^ 1);
    const uint32_t own_full = shared.query_ring.brought(own.stage);
    if (index >= work.order.blocks()) {
      slots[own.stage] = -1;
      marks[own.stage] = kNoMore;
      arrive(own_full);
      if constexpr (Head::kPaired) {
        wait_phase(shared.ring.free(ring.stage), ring.parity ^ 1);
        marks[2 + ring.stage] = kNoMore;
        arrive(shared.ring.brought(ring.stage));
      }
      return;
    }
    slots[own.stage] = index;
    marks[own.stage] = kFirstHead;
    const ForwardPlace<Sizes> place(work, index);
    arrive_expecting(own_full, Sizes::kQueryBytes);
#pragma unroll 1
    for (int group = 0; group < kGroups; ++group)
      bring_tile<Head, false>(shared.queries(own.stage, group), maps.q, own_full, place.b, place.head, place.first + group * kTokens);
    own.advance();
#pragma unroll 1
    for (int step = place.steps - 1; step >= 0; --step) {
      wait_phase(shared.ring.free(ring.stage), ring.parity ^ 1);
      const uint32_t full = shared.ring.brought(ring.stage);
      marks[2 + ring.stage] = kFirstHead;
      arrive_expecting(full, Sizes::kStageBytes);
#pragma unroll 1
      for (int tile = 0; tile < Sizes::kKeyTiles; ++tile) {
        const int token = step * Sizes::kKeys + tile * kTokens, offset = tile * Head::kTileBytes;
        bring_tile<Head, false>(shared.keys(ring.stage) + offset, maps.k, full, place.b, place.group, token);
        bring_tile<Head, false>(shared.values(ring.stage) + offset, maps.v, full, place.b, place.group, token);
      }
      ring.advance();
    }
    index = int(gridDim.x) + atomicAdd(work.counter, 1);
  }
}

// Four warps, `group` 0 or 1.
template <class Sizes>
__device__ __forceinline__ void multiply_tiles(const ForwardWork& work, const ForwardShared<Sizes>& shared, const volatile int* slots,
                                               int group) {
  using Head = typename Sizes::Head;
  constexpr int kScores = Sizes::kScores;
  const int lane = int(threadIdx.x) % kWarp, row = int(threadIdx.x) % kGroupThreads / kWarp * 16 + lane / 4, column = lane % 4 * 2;
  const float scale2 = work.scale * kLog2E;
  RingPlace<2> own_place;
  RingPlace<Sizes::kStages> place;
  if (group == kGroups - 1) pass_turn(group);  // the first begins

  int b = 0, head = 0, first = 0, steps = 0;  // of a tile: the group's first query, the steps of keys that its queries see
  int ahead = 0;                              // of the first step's keys before the queries
  uint32_t queries[Head::kSteps][4];
  float o[Head::kSums], s[kScores];
  uint32_t packed[kScores / 8][4];

  const auto order_scores = [&] {
    const uint64_t keys = describe_lines(shared.keys(place.stage));
#pragma unroll
    for (int k = 0; k < Head::kSteps; ++k) multiply_bf16_lines<kRightColumns>(s, queries[k], along<Head>(keys, k), k);
    commit_products();
  };
  // Takes the next tile and waits for its first keys; false where there is none.
  const auto take_tile = [&] {
    wait_phase(shared.query_ring.full(own_place.stage), own_place.parity);
    const int index = __shfl_sync(kAllLanes, slots[own_place.stage], 0);  // known to be the same in all lanes
    if (index < 0) return false;
    const ForwardPlace<Sizes> tile(work, index);
    b = tile.b;
    head = tile.head;
    first = tile.first + group * kTokens;
    load_left<Head>(queries, shared.queries(own_place.stage, group));
    shared.query_ring.release(own_place.stage);
    own_place.advance();
    const int skipped = max(0, ((tile.steps - 1) * Sizes::kKeys - first) / kTokens);  // steps of keys that no query of the group sees
    steps = tile.steps - skipped;
    ahead = (steps - 1) * Sizes::kKeys - first;
    for (int i = 0; i < skipped; ++i) {
      wait_phase(shared.ring.full(place.stage), place.parity);
      wait_turn(group);
      pass_turn(group);
      shared.ring.release(place.stage);
      place.advance();
    }
    wait_phase(shared.ring.full(place.stage), place.parity);
    return true;
  };
  // Orders a tile's first scores, behind the last one's last products; where there is no tile, of what lies there: no branch may come
  // between products, or the compiler lets each wait for the one before.
  const auto begin = [&] {
    wait_turn(group);
    start_products();
    order_scores();
    pass_turn(group);
    wait_products<0>();
    keep_sums(s);
  };

  bool more = take_tile();
  begin();
  while (more) {
    clear_sums(o);
    float largest[2] = {kMinusInfinity, kMinusInfinity}, sum[2] = {0, 0};  // sums of this thread's columns alone
    int before = 0;  // the stage whose values are still to be read

    const auto accumulate = [&] {
      const uint64_t values = describe_rows(shared.values(before), Head::kHalfBytes);
#pragma unroll
      for (int k = 0; k < kScores / 8; ++k) multiply_bf16_lines<kRightRows>(o, packed[k], values + k * kNextRows, 1);
      commit_products();
    };
    // kFirst: the last keys that the queries see, whose scores are there.
    const auto step = [&](auto is_first) {
      constexpr bool kFirst = decltype(is_first)::value;
      if constexpr (!kFirst) {
        wait_phase(shared.ring.full(place.stage), place.parity);
        wait_turn(group);
        start_products();
        order_scores();
        accumulate();
        pass_turn(group);
        wait_products<1>();
        keep_sums(s);
      }

      if constexpr (kFirst) {
#pragma unroll
        for (int i = 0; i < kScores; ++i) {
          const int key = i / 4 * 8 + column + i % 2;
          if (ahead + key / kTokens * kTokens + Head::token_of(key % kTokens) > Head::token_of(row + i / 2 % 2 * 8)) s[i] = kMinusInfinity;
        }
      }
      float factors[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float mosts[4] = {largest[half], largest[half], largest[half], largest[half]};  // chains that do not wait for each other
#pragma unroll
        for (int i = 0; i < kScores / 2; ++i) mosts[i % 4] = fmaxf(mosts[i % 4], s[i / 2 * 4 + 2 * half + i % 2]);
        float most = fmaxf(fmaxf(mosts[0], mosts[1]), fmaxf(mosts[2], mosts[3]));
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
        factors[half] = fast_exp2((largest[half] - most) * scale2);
        largest[half] = most;
        const float shift = most * scale2;
        float total = sum[half] * factors[half];
#pragma unroll
        for (int i = 0; i < kScores / 2; ++i) {
          float& p = s[i / 2 * 4 + 2 * half + i % 2];
          p = fast_exp2(fmaf(p, scale2, -shift));
          total += p;
        }
        sum[half] = total;
      }

      if constexpr (!kFirst) {
        wait_products<0>();
        keep_sums(o);
        shared.ring.release(before);
        // Maxima seldom grow after the first steps; a factor of NaN is not 1.
        if (__any_sync(kAllLanes, factors[0] != 1 || factors[1] != 1)) {
#pragma unroll
          for (int i = 0; i < Head::kSums; ++i) o[i] *= factors[i / 2 % 2];
        }
      }
      pack_sums(packed, s);
      before = place.stage;
      place.advance();
    };

    step(std::true_type());
#pragma unroll 1
    for (int i = 1; i < steps; ++i) step(std::false_type());
    start_products();
    accumulate();
    const int done_b = b, done_head = head, done_first = first;
    more = take_tile();
    begin();
    keep_sums(o);
    shared.ring.release(before);

    float factors[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[half];
      total += __shfl_xor_sync(kAllLanes, total, 1);
      total += __shfl_xor_sync(kAllLanes, total, 2);
      factors[half] = 1 / total;
      const int query = done_first + Head::token_of(row + 8 * half);
      if (column == 0 && query < work.T)
        work.lse[(int64_t(done_b) * work.H + done_head) * work.T + query] = largest[half] * work.scale + logf(total);
    }
    const int64_t stride = int64_t(work.H) * Head::E;
    bf16* to = work.o + (int64_t(done_b) * work.T + done_first) * stride + done_head * Head::E;
    store_rows<Head>(to, stride, work.T - done_first, o, factors);
  }
  if (group == 0) wait_turn(group);  // that the last one passed: no barrier is left half full
}

template <class Sizes>
__global__ void __launch_bounds__(kHopperThreads, 1)
    attention_forward_sm90_kernel(const __grid_constant__ ForwardMaps maps, const __grid_constant__ ForwardWork work) {
#ifdef TB_HAS_HOPPER_CODE
  extern __shared__ __align__(kLinesAlignment) char memory[];
  const ForwardShared<Sizes> shared(shared_address(memory));
  using Head = typename Sizes::Head;
  int* slots = reinterpret_cast<int*>(memory + Sizes::kSlots);
  int* marks = reinterpret_cast<int*>(memory + Sizes::kMarks);
  open_rings(shared.base, shared.query_ring, shared.ring, kMovers);
  const int group = warp_index() / (kGroupThreads / kWarp);
  if (group == kGroups) {
    give_registers<kCopyRegisters>();
    const int warp = warp_index() % (kGroupThreads / kWarp);
    if (threadIdx.x == kGroups * kGroupThreads) bring_tiles<Sizes>(maps, work, shared, slots, marks);
    if constexpr (Head::kPaired) {
      static_assert(Sizes::kKeyTiles == 1, "a warp moves one tile of a stage");
      if (warp == 1) move_stages<Head>(shared.query_ring, marks, shared.base, Sizes::kQueryBytes, kGroups, kGroups);
      if (warp > 1)
        move_stages<Head>(shared.ring, marks + 2, shared.base + Sizes::kStagesAt + (warp - 2) * Sizes::kKeyBytes, Sizes::kStageBytes, 1, 1);
    }
  } else {
    take_registers<kProductRegisters>();
    multiply_tiles<Sizes>(work, shared, slots, group);
  }
#endif
}

// ---- Launchers ----------------------------------------------------------------------------------------------------------

template <int E>
tb_status launch_forward(tb_context* context, const char* op, const AttentionForward& task) {
  using Sizes = ForwardSizes<E>;
  using Head = HopperHead<E>;
  const AttentionShape& shape = task.shape;
  ForwardMaps maps;
  tb_status status = encode_maps<Head>(context, op, &maps.q, task.q, shape.B, shape.T, shape.H, false);
  if (status == TB_OK) status = encode_maps<Head>(context, op, &maps.k, task.k, shape.B, shape.T, shape.G, false);
  if (status == TB_OK) status = encode_maps<Head>(context, op, &maps.v, task.v, shape.B, shape.T, shape.G, false);
  if (status != TB_OK) return status;
  const auto kernel = attention_forward_sm90_kernel<Sizes>;
  status = allow_shared(context, op, kernel, Sizes::kSharedBytes, E);
  if (status != TB_OK) return status;
  int* counter = reinterpret_cast<int*>(context->scratch);
  status = checked(context, cudaMemsetAsync(counter, 0, sizeof *counter, context->stream), "clear the counter of an attention kernel");
  if (status != TB_OK) return status;
  const TileOrder order = tile_order(shape, shape.B * shape.H, ceil_div(shape.T, kQueries));
  const ForwardWork work = {static_cast<bf16*>(task.o), task.lse, counter, int(shape.T), int(shape.H), int(shape.G), shape.scale, order};
  kernel<<<blocks_of(context, order), kHopperThreads, Sizes::kSharedBytes, context->stream>>>(maps, work);
  return launched(context, op);
}

}  // namespace

tb_status attention_forward_sm90(tb_context* context, const char* op, const AttentionForward& task) {
  return with_width(task.shape.E, [&](auto width) { return launch_forward<decltype(width)::value>(context, op, task); });
}

}  // namespace tb
