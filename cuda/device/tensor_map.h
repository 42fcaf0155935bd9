// Host side of the bulk tensor copy engine: describes a row-major matrix and the box one copy
// moves.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <stdint.h>

namespace wf::kernels {

// rows x columns matrix of 1-byte, bf16 or fp32 elements, `pitch` elements from row to row, boxes
// of box_rows x 128 bytes, stored in shared memory with the 128-byte swizzle: 16-byte unit u of row
// r lies at unit u ^ (r % 8).
inline cudaError_t make_tensor_map(CUtensorMap* map, const void* matrix, CUtensorMapDataType type,
                                   int rows, int columns, int64_t pitch, int box_rows) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault,
                                     &found);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  if (encode == nullptr) return cudaErrorNotSupported;
  const int element_bytes = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32    ? 4
                            : type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? 2
                                                                       : 1;
  const cuuint64_t size[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t pitch_bytes[1] = {static_cast<cuuint64_t>(pitch) * element_bytes};
  const cuuint32_t box[2] = {128u / element_bytes, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t step[2] = {1, 1};
  const CUresult status =
      encode(map, type, 2, const_cast<void*>(matrix), size, pitch_bytes, box, step,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace wf::kernels
