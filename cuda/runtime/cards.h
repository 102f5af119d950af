// What the CUDA driver says of its cards.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tb {

constexpr int kLeastCompute = 80;  // Ampere: bfloat16 and int8 tensor cores, asynchronous copies

struct Card {
  char name[256];
  int32_t compute;                 // 90 for 9.0
  int32_t sm_count;
  int32_t shared_bytes_per_block;  // with the opt-in
  int64_t memory_bytes;
  int64_t l2_bytes;
  int32_t pci_domain;
  int32_t pci_bus;
  int32_t pci_device;
};

cudaError_t read_card(int device, Card* card);

inline bool is_usable(const Card& card) { return card.compute >= kLeastCompute; }

}  // namespace tb
