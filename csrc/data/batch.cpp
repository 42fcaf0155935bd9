#include "data/batch.h"

namespace wf {

Batch Batch::to(torch::Device device) const {
  // A copy to the GPU only overlaps with work there when it starts from pinned memory.
  const auto move = [&](const torch::Tensor& tensor) {
    return device.is_cuda() ? tensor.pin_memory().to(device, /*non_blocking=*/true)
                            : tensor.to(device);
  };
  Batch moved = *this;
  moved.tokens = move(tokens);
  moved.labels = move(labels);
  moved.positions = move(positions);
  moved.device_starts = move(starts);
  return moved;
}

}  // namespace wf
