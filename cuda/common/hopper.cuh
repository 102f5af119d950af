// Hopper's instructions (sm_90a): copies of boxes of a matrix by the copy engine, barriers that count their bytes, and products of
// four warps that read both operands from shared memory. Everything here is PTX of compute capability 9.0a; code that uses it is
// compiled only where TB_HAS_HOPPER_CODE is defined.
//
// Lines: rows of kLineBytes = 128 bytes along the depth, one after the other from an address that is a multiple of 1024. Chunk c (16
// bytes) of row r lies at place c ^ (r % 8) of its line: the copy engine's "128-byte swizzle", an xor of address bits 4 to 6 with bits
// 7 to 9. Products name lines by a descriptor, apply the same xor to the addresses they compute, and so may start at byte 32, 64 or 96
// of the lines.
//
// Sums of a product, 64 rows x N columns over four warps: thread t of the 128, with lane l = t % 32, has in c[4j + 2h + e] the element
// at row 16 (t / 32) + 8h + l / 4, column 8j + 2 (l % 4) + e.
#pragma once

#include <cuda.h>  // the type of a tensor map; nothing of the driver is linked

#include <cstdint>

#include "mma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TB_HAS_HOPPER_CODE 1
#endif

namespace tb {

constexpr int kLineBytes = 128;
constexpr int kLinesAlignment = 1024;  // of the first of eight lines: the xor takes its number from the address

// ---- Barriers in shared memory ----------------------------------------------------------------------------------------
//
// A phase ends when all arrivals and all announced bytes have come. wait_phase(barrier, parity) returns when the phase of that parity
// has ended; on a fresh barrier that of parity 1 counts as ended.

__device__ __forceinline__ void init_barrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// After the last init_barrier, before a barrier of threads: other blocks of the cluster and the copy engine see fresh barriers.
__device__ __forceinline__ void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ bool phase_has_ended(uint32_t barrier, uint32_t parity) {
  uint32_t ended;
  asm volatile(
      "{\n.reg .pred ended;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
      "selp.u32 %0, 1, 0, ended;\n}\n"
      : "=r"(ended)
      : "r"(barrier), "r"(parity)
      : "memory");
  return ended != 0;
}
__device__ __forceinline__ void wait_phase(uint32_t barrier, uint32_t parity) {
  while (!phase_has_ended(barrier, parity)) {
  }
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// One arrival, and `bytes` that copies will bring.
__device__ __forceinline__ void arrive_expecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// One arrival at the barrier that lies at the same address in block `rank` of the cluster, by whom has read what lies there with
// products that are done. Not `.release.cluster`: that becomes a barrier of all the thread's memory operations up to the GPU, with which the ternary
// product took half as long again, and products leave nothing behind that it could order.
__device__ __forceinline__ void arrive_at(uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(barrier), "r"(rank)
      : "memory");
}

// What this thread wrote to shared memory is there for products and the copy engine, once a barrier has told them.
__device__ __forceinline__ void publish_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- Clusters and threads -----------------------------------------------------------------------------------------------

__device__ __forceinline__ uint32_t rank_in_cluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// All threads of all blocks of the cluster.
__device__ __forceinline__ void synchronize_cluster() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// Named barrier `id` (0 is __syncthreads'): some threads come and go on, others wait until `threads` have come.
__device__ __forceinline__ void arrive_named(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void wait_named(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// The same where `really`, one value in a warp: no branch, which between products would make each wait for the one before.
__device__ __forceinline__ void arrive_named_if(bool really, int id, int threads) {
  asm volatile("{\n.reg .pred really;\nsetp.ne.b32 really, %0, 0;\n@really bar.arrive %1, %2;\n}\n" ::"r"(int(really)), "r"(id),
               "r"(threads)
               : "memory");
}
__device__ __forceinline__ void wait_named_if(bool really, int id, int threads) {
  asm volatile("{\n.reg .pred really;\nsetp.ne.b32 really, %0, 0;\n@really bar.sync %1, %2;\n}\n" ::"r"(int(really)), "r"(id),
               "r"(threads)
               : "memory");
}

// All threads of four warps: from here on `Count` registers each, of a block's that were given up before.
template <int Count>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}

// ---- The copy engine --------------------------------------------------------------------------------------------------

__device__ __forceinline__ void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(map)) : "memory");
}

// The box at (x, y) of a map of two dimensions. What lies beyond the matrix becomes 0; all bytes of the box count.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(to),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}

// The box at (x, y, 0, 0, v) of a map of five dimensions.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y, int v) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %6, %6, %5}], [%2];" ::"r"(to),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(barrier), "r"(x), "r"(y), "r"(v), "r"(0)
      : "memory");
}

// The same into every block of the cluster whose bit is set in `blocks`, at the same address, counted by the barrier there.
__device__ __forceinline__ void copy_box_to(uint16_t blocks, uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y,
                                            int v) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4, %6, %6, %5}], [%2], %7;" ::"r"(to),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(barrier), "r"(x), "r"(y), "r"(v), "r"(0), "h"(blocks)
      : "memory");
}

// Brings `bytes` (of 16, from an address of 16) into L2.
__device__ __forceinline__ void prefetch_l2(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(from)), "r"(bytes) : "memory");
}

// ---- Products -----------------------------------------------------------------------------------------------------------
//
// start_products(); multiply_lines(...) ...; commit_products(); wait_products<n>(): all but the last n groups are done, their
// operands may be overwritten. Sums may be read after wait_products<0>() and keep_sums(sums).

// Lines from `address` on, which lies in the first of eight lines.
__device__ __forceinline__ uint64_t describe_lines(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t(1) << 62;
  constexpr uint64_t kEightLines = uint64_t(8 * kLineBytes / 16) << 32;  // from one group of eight rows to the next
  constexpr uint64_t kUnused = uint64_t(1) << 16;                        // the stride along the depth: a line is all of it
  return kSwizzle128 | kEightLines | kUnused | (address & 0x3ffff) >> 4;
}
constexpr uint64_t kNextDepth = 32 / 16;  // what 32 bytes along the depth add to a descriptor

__device__ __forceinline__ void start_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

// Keeps the compiler from moving reads of sums before what stands above.
template <int Count>
__device__ __forceinline__ void keep_sums(int32_t (&sums)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+r"(sums[i])::"memory");
}
// Operands in registers: they are as they are here, computed before what stands below and not overwritten before what stands above.
template <int Count>
__device__ __forceinline__ void keep_operands(uint32_t (&a)[Count][4]) {
#pragma unroll
  for (int i = 0; i < Count; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) asm volatile("" : "+r"(a[i][j])::"memory");
}

// c = a . b + (add ? c : 0), 64 x N over 32 int8, exact in int32; a: 64 lines, b: N lines. One overload a width N = 64, 128, 256.
#define TB_EIGHT_SUMS(i) \
  "+r"(c[i]), "+r"(c[i + 1]), "+r"(c[i + 2]), "+r"(c[i + 3]), "+r"(c[i + 4]), "+r"(c[i + 5]), "+r"(c[i + 6]), "+r"(c[i + 7])
#define TB_PLACES_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TB_PLACES_64 \
  TB_PLACES_32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TB_PLACES_128 \
  TB_PLACES_64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define TB_SUMS_32 TB_EIGHT_SUMS(0), TB_EIGHT_SUMS(8), TB_EIGHT_SUMS(16), TB_EIGHT_SUMS(24)
#define TB_SUMS_64 TB_SUMS_32, TB_EIGHT_SUMS(32), TB_EIGHT_SUMS(40), TB_EIGHT_SUMS(48), TB_EIGHT_SUMS(56)
#define TB_SUMS_128 \
  TB_SUMS_64, TB_EIGHT_SUMS(64), TB_EIGHT_SUMS(72), TB_EIGHT_SUMS(80), TB_EIGHT_SUMS(88), TB_EIGHT_SUMS(96), \
  TB_EIGHT_SUMS(104), TB_EIGHT_SUMS(112), TB_EIGHT_SUMS(120)
__device__ __forceinline__ void multiply_lines(int32_t (&c)[32], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {"
      TB_PLACES_32
      "}, %32, %33, add;\n}\n"
      : TB_SUMS_32
      : "l"(a), "l"(b), "r"(add));
}
__device__ __forceinline__ void multiply_lines(int32_t (&c)[64], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
      TB_PLACES_64
      "}, %64, %65, add;\n}\n"
      : TB_SUMS_64
      : "l"(a), "l"(b), "r"(add));
}
__device__ __forceinline__ void multiply_lines(int32_t (&c)[128], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {"
      TB_PLACES_128
      "}, %128, %129, add;\n}\n"
      : TB_SUMS_128
      : "l"(a), "l"(b), "r"(add));
}
// The same with a in registers: thread t of the 128, with lane l = t % 32, has in a[2i + h] the bytes 16i + 4 (l % 4) .. + 3 of row
// 16 (t / 32) + 8h + l / 4. They may be overwritten when the product is done.
__device__ __forceinline__ void multiply_lines(int32_t (&c)[32], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {"
      TB_PLACES_32
      "}, {%32, %33, %34, %35}, %36, add;\n}\n"
      : TB_SUMS_32
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
__device__ __forceinline__ void multiply_lines(int32_t (&c)[64], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
      TB_PLACES_64
      "}, {%64, %65, %66, %67}, %68, add;\n}\n"
      : TB_SUMS_64
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
__device__ __forceinline__ void multiply_lines(int32_t (&c)[128], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %133, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {"
      TB_PLACES_128
      "}, {%128, %129, %130, %131}, %132, add;\n}\n"
      : TB_SUMS_128
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
#undef TB_SUMS_128
#undef TB_SUMS_64
#undef TB_SUMS_32
#undef TB_PLACES_128
#undef TB_PLACES_64
#undef TB_PLACES_32
#undef TB_EIGHT_SUMS

}  // namespace tb
