// How the threads of a block share rows, so that a row lives in registers.
#pragma once

#include <cuda_runtime_api.h>

namespace wf::kernels {

template <int kThreads_, int kVectors_>
struct RowShape {
  static constexpr int kThreads = kThreads_;                      // per row
  static constexpr int kVectors = kVectors_;                      // of 8 per thread
  static constexpr int kBlock = kThreads < 256 ? 256 : kThreads;  // threads
  static constexpr int kRows = kBlock / kThreads;                 // per block
  static constexpr int kThreadsPerSm = kVectors <= 3 ? 1024 : kVectors <= 5 ? 768 : 512;
  static constexpr int kBlocksPerSm = kThreadsPerSm / kBlock;  // caps registers
};

// Calls launch(RowShape, blocks) with the smallest shape of at most kMaxVectors vectors per thread
// that holds a row of `width` elements; returns the launch's status, or cudaErrorInvalidValue for a
// width that is no multiple of 16 or that no shape holds.
template <int kMaxVectors, class Launch>
cudaError_t with_row_shape(int rows, int width, Launch launch) {
  if (rows < 1 || width < 16 || width % 16 != 0) return cudaErrorInvalidValue;
  bool launched = false;
  const auto offer = [&](auto shape) {
    using Shape = decltype(shape);
    if constexpr (Shape::kVectors <= kMaxVectors) {
      if (launched || width > 8 * Shape::kThreads * Shape::kVectors) return;
      launch(shape, (rows + Shape::kRows - 1) / Shape::kRows);
      launched = true;
    }
  };
  offer(RowShape<32, 3>{});
  offer(RowShape<32, 4>{});
  offer(RowShape<64, 2>{});
  offer(RowShape<64, 3>{});
  offer(RowShape<64, 4>{});
  offer(RowShape<128, 2>{});
  offer(RowShape<64, 5>{});
  offer(RowShape<128, 3>{});
  offer(RowShape<128, 4>{});
  offer(RowShape<256, 2>{});
  offer(RowShape<256, 3>{});
  offer(RowShape<256, 4>{});
  offer(RowShape<512, 2>{});
  offer(RowShape<256, 8>{});
  return launched ? cudaGetLastError() : cudaErrorInvalidValue;
}

}  // namespace wf::kernels
