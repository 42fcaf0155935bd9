// How the threads of a block share rows: the smallest arrangement that holds a row in registers, and
// as many blocks as the card keeps busy at once.
#pragma once

#include <cuda_runtime_api.h>

namespace wf::kernels {

constexpr int kBlockThreads = 256;

template <int kThreads_, int kVectors_>
struct RowShape {
  static constexpr int kThreads = kThreads_;  // per row
  static constexpr int kVectors = kVectors_;  // of 8 elements per thread
  static constexpr int kRows = kBlockThreads / kThreads;                           // per block
  static constexpr int kBlocksPerSm = kVectors <= 3 ? 3 : kVectors <= 4 ? 2 : 1;  // caps registers
};

// Calls launch(RowShape, blocks) for `rows` rows of `width` elements; returns the launch's status, or
// cudaErrorInvalidValue for a width that is no multiple of 16 or over 16384.
template <class Launch>
cudaError_t with_row_shape(int rows, int width, Launch launch) {
  if (rows < 1 || width < 16 || width % 16 != 0) return cudaErrorInvalidValue;
  int device, processors;
  cudaError_t status = cudaGetDevice(&device);
  if (status != cudaSuccess) return status;
  status = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (status != cudaSuccess) return status;
  const auto run = [&](auto shape) {
    using Shape = decltype(shape);
    const int needed = (rows + Shape::kRows - 1) / Shape::kRows;
    const int resident = processors * Shape::kBlocksPerSm;
    launch(shape, needed < resident ? needed : resident);
    return cudaGetLastError();
  };
  const int vectors = width / 8;
  if (vectors <= 32 * 3) return run(RowShape<32, 3>{});
  if (vectors <= 64 * 2) return run(RowShape<64, 2>{});
  if (vectors <= 64 * 3) return run(RowShape<64, 3>{});
  if (vectors <= 128 * 2) return run(RowShape<128, 2>{});
  if (vectors <= 128 * 3) return run(RowShape<128, 3>{});
  if (vectors <= 256 * 2) return run(RowShape<256, 2>{});
  if (vectors <= 256 * 3) return run(RowShape<256, 3>{});
  if (vectors <= 256 * 4) return run(RowShape<256, 4>{});
  if (vectors <= 256 * 8) return run(RowShape<256, 8>{});
  return cudaErrorInvalidValue;
}

}  // namespace wf::kernels
