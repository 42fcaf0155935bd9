// Lookup in the table of per-segment column scales.
#pragma once

#include "kernels/gemm_s8.h"

namespace wf::kernels {

// The table's scales, loaded once per thread.
class LoadedScales {
 public:
  __device__ explicit LoadedScales(const ColumnScales& columns) : columns_(columns) {
#pragma unroll
    for (int s = 0; s < kMaxColumnSegments; ++s) {
      const bool given = s < columns.count && columns.scale[s] != nullptr;
      scale_[s] = given ? *columns.scale[s] : 1.0f;
    }
  }

  // Of the segment that `column` lies in.
  __device__ float at(int column) const {
    float scale = scale_[0];
#pragma unroll
    for (int s = 1; s < kMaxColumnSegments; ++s) {
      if (s < columns_.count && column >= columns_.end[s - 1]) scale = scale_[s];
    }
    return scale;
  }

  // Whether the columns from `begin` to below `end` lie in one segment.
  __device__ bool same(int begin, int end) const {
#pragma unroll
    for (int s = 0; s < kMaxColumnSegments; ++s) {
      if (s < columns_.count && columns_.end[s] > begin && columns_.end[s] < end) return false;
    }
    return true;
  }

 private:
  const ColumnScales& columns_;
  float scale_[kMaxColumnSegments];
};

}  // namespace wf::kernels
