// Pinned memory through which host bytes go to the card (runtime/memory.cu).
#pragma once

#include "context.cuh"

namespace tb {

// The next slot, kStagingBytes, once the card has read what was sent from it before.
tb_status next_slot(tb_context* context, char** slot);

// Sends the first `bytes` of the slot that next_slot gave last, behind the ops before; waits for nothing.
tb_status send_slot(tb_context* context, void* to, int64_t bytes);

}  // namespace tb
