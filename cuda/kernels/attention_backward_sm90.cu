// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The backward pass of attention_backward.cu on Hopper's tensor cores: the same operands, the same seven products, P and dS rounded to
// bfloat16 before theirs, one owner and one order for each sum. What differs is the order of the terms, and who brings operands.
//
//   statistics   delta = rowsum(dout * o), beside lse in units of log 2, in the layout of tiles, into scratch memory
//   keys         own 128 keys a block: dV = sum Pᵀ dO, dK = scale * sum dSᵀ Q, over the group's heads and then queries in order
//   queries      own 128 queries a block: dQ = scale * sum dS K, over keys from the queries' own back to the first
//
// The last two are one kernel: "own" rows of two operands stay, tiles of 64 tokens of the "other" two pass by. With (own, other) =
// (K, Q), (V, dO) scores come transposed, with (Q, K), (dO, V) straight: either way their sums are, packed, the left operand of the next
// product. Two groups of four warps own 64 rows each. A step of a group is
//
//   products   S = own0 . other0ᵀ | dP = own1 . other1ᵀ | sums += P . other1, dS . other0 of the step before
//   others                        | P = exp2(S - lse)   | dS = P * (dP - delta)
//
// so that exponentials run beside its own products, and everything else beside the other group's. Blocks stay: the next tile is drawn
// from a counter, longest first, its operands come and its first scores are ordered while the last is finished. Which block computes a
// tile changes no bit.
#include <type_traits>

#include "attention_sm90.cuh"

#if defined(__CUDA_ARCH__) && !defined(TB_HAS_HOPPER_CODE)
#pragma nv_diag_suppress 177  // for other architectures the kernel is empty, and nobody uses what it is made of
#endif

namespace tb {
namespace {

// ---- Tiles --------------------------------------------------------------------------------------------------------------

constexpr int kOwned = kGroups * kTokens;
constexpr int kMovers = 2;                                          // warps that move rows of a stage, one an operand
constexpr int64_t kTurnsBehind = 4096;                              // tokens; with fewer, turns cost more than they save
constexpr int kCounters = 2;                                        // of tiles drawn, one a launch
constexpr int64_t kStatisticsAt = 256;                              // bytes into scratch
constexpr int kStatisticsBytes = 2 * kTokens * int(sizeof(float));  // of a tile: 64 lse, 64 delta

template <int E, bool Keys>
struct BackwardSizes : HopperHead<E> {
  using Head = HopperHead<E>;
  static constexpr bool kKeys = Keys;
  // Own operands as registers: products then read half as much shared memory. Sums of wider heads leave no room.
  static constexpr bool kHeld = E <= (Keys ? 64 : 100);
  // Sums, S, dP, P and dS at once are more registers than there are where keys are wider than 64: there the last products of a step
  // end before dP is begun.
  static constexpr bool kLate = Keys && E > 64;
  static constexpr int kStages = E <= 64 ? 8 : 3;
  static constexpr int kOwnBytes = 2 * kGroups * Head::kTileBytes, kStageBytes = 2 * Head::kTileBytes;
  static constexpr int kOthersAt = 2 * kOwnBytes;  // own operands of this tile and the next
  static constexpr int kStatistics = kOthersAt + kStages * kStageBytes;
  static constexpr int kBarriers = kStatistics + kStages * kStatisticsBytes;
  static constexpr int kSlots = kBarriers + RingBarriers<2, Head::kPaired>::kBytes + RingBarriers<kStages, Head::kPaired>::kBytes;
  static constexpr int kMarks = kSlots + 2 * int(sizeof(int));  // of the two rings
  static constexpr int kSharedBytes = kMarks + (2 + kStages) * int(sizeof(int));
};

struct BackwardMaps {
  HeadMaps own[2], other[2];
};

struct BackwardWork {
  const float* statistics;  // (B, H, tiles of 64, 2, 64): lse / log 2, delta; 0 behind T
  bf16* results[2];         // dk and dv, or dq
  int* counter;             // tiles drawn, beyond the first of each block
  int B, T, H, G;
  int tiles64;
  float scale;
  bool turns;  // the groups order the products of a step one after the other
  TileOrder order;
};

// ---- Device: statistics -------------------------------------------------------------------------------------------------

// A team of lanes a token and head.
template <int E>
__global__ void __launch_bounds__(256) attention_statistics_kernel(const AttentionBackward task, float* statistics, int* counters,
                                                                   int tiles64) {
  using Head = HopperHead<E>;
  constexpr int kUnit = E % 8 == 0 ? 8 : 4, kUnits = E / kUnit;
  constexpr int kTeam = kUnits <= 8 ? 8 : kUnits <= 16 ? 16 : 32;
  if (blockIdx.x == 0 && threadIdx.x < kCounters) counters[threadIdx.x] = 0;
  const AttentionShape& shape = task.shape;
  // Statistics that fit into the scratch memory are so few that their teams' threads are counted in 32 bits.
  const unsigned team = (blockIdx.x * 256 + threadIdx.x) / kTeam, heads = unsigned(shape.H), padded = unsigned(tiles64 * kTokens);
  const int lane = int(threadIdx.x) % kTeam, h = int(team % heads), t = int(team / heads % padded);
  const int64_t b = team / heads / padded;
  const bool exists = b < shape.B && t < shape.T;
  float sum = 0;
  if (exists && lane < kUnits) {
    const int64_t at = ((b * shape.T + t) * shape.H + h) * E + lane * kUnit;
    float left[kUnit], right[kUnit];
    load_floats(static_cast<const bf16*>(task.dout) + at, left);
    load_floats(static_cast<const bf16*>(task.o) + at, right);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) sum = fmaf(left[i], right[i], sum);
  }
#pragma unroll
  for (int offset = kTeam / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
  if (lane != 0 || b >= shape.B) return;
  const int64_t head = b * shape.H + h;
  float* to = statistics + (head * tiles64 + t / kTokens) * 2 * kTokens + Head::row_of(t % kTokens);
  to[0] = exists ? task.lse[head * shape.T + t] * kLog2E : 0;
  to[kTokens] = sum;
}

// ---- Device: which tile, which steps ---------------------------------------------------------------------------------------

// The own tile of a place in the order, and the others that pass by it: of each head, those at first, first + 64 * way, ....
template <class Sizes>
struct BackwardPlace {
  static constexpr int kWay = Sizes::kKeys ? kTokens : -kTokens;
  int b, own_head, first_head, heads;  // heads of the other operands: from first_head on
  int own, first, steps;               // the block's first own token; tokens and number of the others

  __device__ __forceinline__ BackwardPlace(const BackwardWork& work, int index) {
    int head, rank;
    work.order.place(index, head, rank);
    const int group = work.H / work.G;
    if constexpr (Sizes::kKeys) {
      b = head / work.G;
      own_head = head % work.G;
      first_head = own_head * group;
      heads = group;
      own = rank * kOwned;  // earlier keys are seen by more queries: they go first
      first = own;
      steps = work.tiles64 - own / kTokens;
    } else {
      b = head / work.H;
      own_head = head % work.H;
      first_head = own_head / group;
      heads = 1;
      own = (work.order.tiles - 1 - rank) * kOwned;
      first = min(own / kTokens + kGroups, work.tiles64) * kTokens - kTokens;
      steps = first / kTokens + 1;
    }
  }

  // Steps before that at `token`, which is where a group's own rows and the others are the same tokens: it takes no part in these. A
  // group whose tokens are behind the end computes what nobody stores: it may not run ahead while it still reads a stage.
  __device__ __forceinline__ int steps_before(int token) const { return max(0, min((token - first) / kWay, steps - 1)); }
};

template <class Sizes>
struct BackwardShared {
  using Head = typename Sizes::Head;
  uint32_t base;
  RingBarriers<2, Head::kPaired> own_ring;
  RingBarriers<Sizes::kStages, Head::kPaired> ring;

  __device__ __forceinline__ explicit BackwardShared(uint32_t base)
      : base(base), own_ring{base + Sizes::kBarriers}, ring{base + Sizes::kBarriers + RingBarriers<2, Head::kPaired>::kBytes} {}
  // Tiles of a group: operand 0 or 1.
  __device__ __forceinline__ uint32_t own(int stage, int operand, int group) const {
    return base + stage * Sizes::kOwnBytes + (operand * kGroups + group) * Sizes::kTileBytes;
  }
  __device__ __forceinline__ uint32_t other(int stage, int operand) const {
    return base + Sizes::kOthersAt + stage * Sizes::kStageBytes + operand * Sizes::kTileBytes;
  }
  __device__ __forceinline__ uint32_t statistics_offset(int stage) const { return Sizes::kStatistics + stage * kStatisticsBytes; }
};

// ---- Device: the two kinds of warps -----------------------------------------------------------------------------------------

// One thread.
template <class Sizes>
__device__ __forceinline__ void bring_tiles(const BackwardMaps& maps, const BackwardWork& work, const BackwardShared<Sizes>& shared,
                                            volatile int* slots, volatile int* marks) {
  using Head = typename Sizes::Head;
  constexpr bool kKeys = Sizes::kKeys;
  RingPlace<2> own;
  RingPlace<Sizes::kStages> ring;
  int index = int(blockIdx.x);
  for (;;) {
    wait_phase(shared.own_ring.free(own.stage), own.parity ^ 1);
    const uint32_t own_full = shared.own_ring.brought(own.stage);
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
    const BackwardPlace<Sizes> place(work, index);
    marks[own.stage] = place.own_head % 2 ? kSecondHead : kFirstHead;
    arrive_expecting(own_full, Sizes::kOwnBytes);
#pragma unroll 1
    for (int group = 0; group < kGroups; ++group) {
      const int token = place.own + group * kTokens;
      bring_tile<Head, false>(shared.own(own.stage, 0, group), maps.own[0], own_full, place.b, place.own_head, token);
      bring_tile<Head, !kKeys>(shared.own(own.stage, 1, group), maps.own[1], own_full, place.b, place.own_head, token);
    }
    own.advance();
    for (int head = place.first_head; head < place.first_head + place.heads; ++head)
#pragma unroll 1
      for (int step = 0; step < place.steps; ++step) {
        const int token = place.first + step * place.kWay;
        wait_phase(shared.ring.free(ring.stage), ring.parity ^ 1);
        const uint32_t full = shared.ring.brought(ring.stage);
        marks[2 + ring.stage] = head % 2 ? kSecondHead : kFirstHead;
        arrive_expecting(full, Sizes::kStageBytes + (kKeys ? kStatisticsBytes : 0));
        bring_tile<Head, false>(shared.other(ring.stage, 0), maps.other[0], full, place.b, head, token);
        bring_tile<Head, kKeys>(shared.other(ring.stage, 1), maps.other[1], full, place.b, head, token);
        if constexpr (kKeys)
          copy_bytes(shared.base + shared.statistics_offset(ring.stage),
                     work.statistics + ((int64_t(place.b) * work.H + head) * work.tiles64 + token / kTokens) * 2 * kTokens,
                     kStatisticsBytes, full);
        ring.advance();
      }
    index = int(gridDim.x) + atomicAdd(work.counter, 1);
  }
}

// Four warps, `group` 0 or 1.
template <class Sizes>
__device__ __forceinline__ void multiply_tiles(const BackwardWork& work, const BackwardShared<Sizes>& shared, const char* memory,
                                               const volatile int* slots, int group) {
  using Head = typename Sizes::Head;
  constexpr bool kKeys = Sizes::kKeys, kHeld = Sizes::kHeld, kLate = Sizes::kLate;
  constexpr int kScores = kTokens / 2;  // of a thread: 64 x 64
  const int lane = int(threadIdx.x) % kWarp, row = int(threadIdx.x) % kGroupThreads / kWarp * 16 + lane / 4, column = lane % 4 * 2;
  const float scale2 = work.scale * kLog2E;
  RingPlace<2> own_place;
  RingPlace<Sizes::kStages> place;
  if (group == kGroups - 1) pass_turn(group, work.turns);  // the first begins

  int b = 0, own_head = 0, first = 0;  // of a tile: the group's first own token
  int steps = 0, heads = 0;            // of the others: of a head, and heads left
  int before = 0;                      // the stage whose last products are not done, or not even begun
  bool holds = false;                  // own tiles in shared memory
  uint32_t held[kHeld ? 2 : 1][kHeld ? Head::kSteps : 1][4];
  uint64_t own[2] = {};
  float log_sums[2] = {0, 0}, means[2] = {0, 0};             // of own rows, where these are queries
  float sums0[Head::kSums], sums1[kKeys ? Head::kSums : 4];  // of operand 0: dK or dQ; of operand 1: dV
  float s[kScores], ds[kScores];
  uint32_t packed_p[kScores / 8][4], packed_ds[kScores / 8][4];

  const auto score = [&](float(&to)[kScores], int operand) {
    const uint64_t other = describe_lines(shared.other(place.stage, operand));
#pragma unroll
    for (int k = 0; k < Head::kSteps; ++k)
      if constexpr (kHeld)
        multiply_bf16_lines<kRightColumns>(to, held[operand][k], along<Head>(other, k), k);
      else
        multiply_bf16_lines<kRightColumns>(to, along<Head>(own[operand], k), along<Head>(other, k), k);
    commit_products();
  };
  const auto accumulate = [&](int stage) {
    const uint64_t other0 = describe_rows(shared.other(stage, 0), Head::kHalfBytes);
    const uint64_t other1 = describe_rows(shared.other(stage, 1), Head::kHalfBytes);
    if constexpr (kKeys) {
#pragma unroll
      for (int k = 0; k < kTokens / 16; ++k) multiply_bf16_lines<kRightRows>(sums1, packed_p[k], other1 + k * kNextRows, 1);
    }
#pragma unroll
    for (int k = 0; k < kTokens / 16; ++k) multiply_bf16_lines<kRightRows>(sums0, packed_ds[k], other0 + k * kNextRows, 1);
    commit_products();
  };
  int skipped = 0;  // steps of each head before the first in which the group takes part
  // Takes the next head of the others, or the next tile, and waits for its first step; false where there is none.
  const auto take = [&] {
    if (heads == 0) {
      if constexpr (!kHeld) {
        if (holds) {
          shared.own_ring.release(own_place.stage);
          own_place.advance();
        }
        holds = true;
      }
      wait_phase(shared.own_ring.full(own_place.stage), own_place.parity);
      const int index = __shfl_sync(kAllLanes, slots[own_place.stage], 0);  // known to be the same in all lanes
      if (index < 0) return false;
      const BackwardPlace<Sizes> tile(work, index);
      b = tile.b;
      own_head = tile.own_head;
      first = tile.own + group * kTokens;
      if constexpr (kHeld) {
        load_left<Head>(held[0], shared.own(own_place.stage, 0, group));
        load_left<Head>(held[1], shared.own(own_place.stage, 1, group));
        shared.own_ring.release(own_place.stage);
        own_place.advance();
      } else {
        own[0] = describe_lines(shared.own(own_place.stage, 0, group));
        own[1] = describe_lines(shared.own(own_place.stage, 1, group));
      }
      heads = tile.heads;
      skipped = tile.steps_before(first);
      steps = tile.steps - skipped;
      if constexpr (!kKeys) {
        const int64_t at_tile = (int64_t(b) * work.H + own_head) * work.tiles64 + min(first / kTokens, work.tiles64 - 1);
        const float* at = work.statistics + at_tile * 2 * kTokens + row;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          log_sums[half] = __ldg(at + 8 * half);
          means[half] = __ldg(at + 8 * half + kTokens);
        }
      }
    }
    --heads;
    for (int i = 0; i < skipped; ++i) {
      wait_phase(shared.ring.full(place.stage), place.parity);
      wait_turn(group, work.turns);
      pass_turn(group, work.turns);
      shared.ring.release(place.stage);
      place.advance();
    }
    wait_phase(shared.ring.full(place.stage), place.parity);
    return true;
  };
  // Orders the first scores behind the last products; where there is nothing to take, of what lies there: no branch may come between
  // products, or the compiler lets each wait for the one before.
  const auto begin = [&] {
    wait_turn(group, work.turns);
    start_products();
    score(s, 0);
    score(ds, 1);
    pass_turn(group, work.turns);
    wait_products<0>();
    keep_sums(s);
    keep_sums(ds);
  };

  bool more = take();
  begin();
  clear_sums(sums0);
  if constexpr (kKeys) clear_sums(sums1);
  while (more) {
    // kFirst: the others are the own tokens; S and dP are there.
    const auto step = [&](auto is_first) {
      constexpr bool kFirst = decltype(is_first)::value;
      if constexpr (!kFirst) {
        wait_phase(shared.ring.full(place.stage), place.parity);
        wait_turn(group, work.turns);
        start_products();
        score(s, 0);
        if constexpr (kLate) {
          pass_turn(group, work.turns);
          wait_products<1>();
          shared.ring.release(before);
          start_products();
          score(ds, 1);
          wait_products<1>();
        } else {
          score(ds, 1);
          accumulate(before);
          pass_turn(group, work.turns);
          wait_products<2>();
        }
        keep_sums(s);
      }

      if constexpr (kFirst) {
#pragma unroll
        for (int i = 0; i < kScores; ++i) {
          const int mine = Head::token_of(row + i / 2 % 2 * 8), theirs = Head::token_of(i / 4 * 8 + column + i % 2);
          if (kKeys ? mine > theirs : theirs > mine) s[i] = kMinusInfinity;  // P is 0, and so is dS
        }
      }
      const float* statistics = reinterpret_cast<const float*>(memory + shared.statistics_offset(place.stage)) + column;
#pragma unroll
      for (int n = 0; n < kScores / 4; ++n) {
        const float2 theirs = kKeys ? *reinterpret_cast<const float2*>(statistics + 8 * n) : make_float2(0, 0);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          s[4 * n + i] = fast_exp2(fmaf(s[4 * n + i], scale2, -(kKeys ? (i % 2 ? theirs.y : theirs.x) : log_sums[i / 2])));
      }
      if constexpr (!kFirst) {
        wait_products<kLate ? 0 : 1>();
        keep_sums(ds);
      }
#pragma unroll
      for (int n = 0; n < kScores / 4; ++n) {
        const float2 theirs = kKeys ? *reinterpret_cast<const float2*>(statistics + kTokens + 8 * n) : make_float2(0, 0);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          ds[4 * n + i] = s[4 * n + i] * (ds[4 * n + i] - (kKeys ? (i % 2 ? theirs.y : theirs.x) : means[i / 2]));
      }
      if constexpr (!kLate && !kFirst) {
        wait_products<0>();
        shared.ring.release(before);
      }
      if constexpr (kKeys) pack_sums(packed_p, s);
      pack_sums(packed_ds, ds);
      if constexpr (kLate) {
        start_products();
        accumulate(place.stage);
      }
      before = place.stage;
      place.advance();
    };

    step(std::true_type());
#pragma unroll 1
    for (int i = 1; i < steps; ++i) step(std::false_type());
    if constexpr (!kLate) {
      start_products();
      accumulate(before);
    }
    const int done_b = b, done_head = own_head, done_first = first;
    const bool done = heads == 0;
    more = take();
    if constexpr (kLate)
      wait_products<0>();
    else
      begin();
    keep_sums(sums0);
    if constexpr (kKeys) keep_sums(sums1);
    shared.ring.release(before);
    if (done) {
      const int own_heads = kKeys ? work.G : work.H;
      const int64_t at = ((int64_t(done_b) * own_heads + done_head) * work.T + done_first) * Head::E;
      const float scales[2] = {work.scale, work.scale}, ones[2] = {1, 1};
      store_rows<Head>(work.results[0] + at, Head::E, work.T - done_first, sums0, scales);
      clear_sums(sums0);
      if constexpr (kKeys) {
        store_rows<Head>(work.results[1] + at, Head::E, work.T - done_first, sums1, ones);
        clear_sums(sums1);
      }
    }
    if constexpr (kLate) begin();  // sums, P, dS and the next scores together would be more registers than there are
  }
  if (group == 0) wait_turn(group, work.turns);  // that the last one passed: no barrier is left half full
}

template <class Sizes>
__global__ void __launch_bounds__(kHopperThreads, 1)
    attention_backward_sm90_kernel(const __grid_constant__ BackwardMaps maps, const __grid_constant__ BackwardWork work) {
#ifdef TB_HAS_HOPPER_CODE
  extern __shared__ __align__(kLinesAlignment) char memory[];
  const BackwardShared<Sizes> shared(shared_address(memory));
  using Head = typename Sizes::Head;
  int* slots = reinterpret_cast<int*>(memory + Sizes::kSlots);
  int* marks = reinterpret_cast<int*>(memory + Sizes::kMarks);
  open_rings(shared.base, shared.own_ring, shared.ring, kMovers);
  const int group = warp_index() / (kGroupThreads / kWarp);
  if (group == kGroups) {
    give_registers<kCopyRegisters>();
    const int warp = warp_index() % (kGroupThreads / kWarp);
    if (threadIdx.x == kGroups * kGroupThreads) bring_tiles<Sizes>(maps, work, shared, slots, marks);
    if constexpr (Head::kPaired) {  // of the tensors, dout has its heads beside each other
      if (warp == 1)
        move_stages<Head>(shared.own_ring, marks, shared.base, Sizes::kOwnBytes, 2 * kGroups, Sizes::kKeys ? 2 * kGroups : kGroups);
      if (warp > 1)
        move_stages<Head>(shared.ring, marks + 2, shared.base + Sizes::kOthersAt + (warp - 2) * Sizes::kTileBytes, Sizes::kStageBytes, 1,
                          Sizes::kKeys && warp == 3 ? 0 : 1);
    }
  } else {
    take_registers<kProductRegisters>();
    multiply_tiles<Sizes>(work, shared, memory, slots, group);
  }
#endif
}

// ---- Launchers ----------------------------------------------------------------------------------------------------------

template <int E, bool Keys>
tb_status launch_backward(tb_context* context, const char* op, const AttentionBackward& task, const float* statistics, int* counter) {
  using Sizes = BackwardSizes<E, Keys>;
  using Head = HopperHead<E>;
  const AttentionShape& shape = task.shape;
  BackwardMaps maps;
  tb_status status = encode_maps<Head>(context, op, &(Keys ? maps.other : maps.own)[0], task.q, shape.B, shape.T, shape.H, false);
  if (status == TB_OK)
    status = encode_maps<Head>(context, op, &(Keys ? maps.other : maps.own)[1], task.dout, shape.B, shape.T, shape.H, true);
  if (status == TB_OK) status = encode_maps<Head>(context, op, &(Keys ? maps.own : maps.other)[0], task.k, shape.B, shape.T, shape.G, false);
  if (status == TB_OK) status = encode_maps<Head>(context, op, &(Keys ? maps.own : maps.other)[1], task.v, shape.B, shape.T, shape.G, false);
  if (status != TB_OK) return status;
  const auto kernel = attention_backward_sm90_kernel<Sizes>;
  status = allow_shared(context, op, kernel, Sizes::kSharedBytes, E);
  if (status != TB_OK) return status;
  const TileOrder order = tile_order(shape, shape.B * (Keys ? shape.G : shape.H), ceil_div(shape.T, kOwned));
  const BackwardWork work = {statistics,
                             {static_cast<bf16*>(Keys ? task.dk : task.dq), static_cast<bf16*>(Keys ? task.dv : nullptr)},
                             counter,
                             int(shape.B),
                             int(shape.T),
                             int(shape.H),
                             int(shape.G),
                             int(ceil_div(shape.T, kTokens)),
                             shape.scale,
                             shape.T > kTurnsBehind,
                             order};
  kernel<<<blocks_of(context, order), kHopperThreads, Sizes::kSharedBytes, context->stream>>>(maps, work);
  return launched(context, op);
}

template <int E>
tb_status launch_all(tb_context* context, const char* op, const AttentionBackward& task) {
  const AttentionShape& shape = task.shape;
  const int64_t tiles64 = ceil_div(shape.T, kTokens);
  constexpr int kTeam = E <= 64 ? 8 : E % 8 == 0 ? 16 : 32;
  int* counters = reinterpret_cast<int*>(context->scratch);
  float* statistics = reinterpret_cast<float*>(context->scratch + kStatisticsAt);
  attention_statistics_kernel<E><<<blocks_for(shape.B * shape.H * tiles64 * kTokens, 256 / kTeam), 256, 0, context->stream>>>(
      task, statistics, counters, int(tiles64));
  const tb_status status = launch_backward<E, true>(context, op, task, statistics, counters);
  if (status != TB_OK) return status;
  return launch_backward<E, false>(context, op, task, statistics, counters + 1);
}

}  // namespace

tb_status attention_backward_sm90(tb_context* context, const char* op, const AttentionBackward& task) {
  return with_width(task.shape.E, [&](auto width) { return launch_all<decltype(width)::value>(context, op, task); });
}

}  // namespace tb
