// Which cluster computes which part of a product: whole output tiles in rounds and, where that
// pays, the tiles that do not fill a last round cut along K into equal chunks. Chunks are walked
// chunk by chunk, not tile by tile, so that the clusters read the same part of K at the same time
// and share it in L2.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/gemm_s8.h"

namespace wf::kernels {

struct GemmWork {
  int row, column;  // cluster tile coordinates
  int begin, end;   // blocks along K
  int part;         // number of this chunk among all chunks, -1 for a whole tile
};

struct GemmSchedule {
  int tiles_m, tiles_n;  // cluster tiles
  int blocks;            // along K, per tile
  int group;             // rows of tiles walked together, so that a round's operands stay in L2
  int whole;             // tiles that one cluster computes alone
  int chunks;            // per tile of the rest
  int cost;              // of the busiest cluster, in blocks of K

  __host__ __device__ int rest() const { return tiles_m * tiles_n - whole; }
  __host__ __device__ int parts() const { return rest() * chunks; }

  __device__ void place(int tile, int& row, int& column) const {
    const int band = group * tiles_n;
    const int first_row = tile / band * group;
    const int rows = min(group, tiles_m - first_row);
    row = first_row + tile % band % rows;
    column = tile % band / rows;
  }
};

constexpr int kMaxPartsPerCluster = 4;  // bounds the workspace

constexpr int kGemmCluster = 2;      // blocks that share the tile of b
constexpr int kGemmTileK = 128;      // bytes of K per block of K: one row of the 128-byte swizzle
constexpr int kGemmBandRows = 2048;  // output rows walked together, see GemmSchedule::group

inline int gemm_rows_per_block(GemmS8Config config) { return config.ping_pong ? 64 : 128; }

// split: whether tiles may be cut along K, as they are for fp32 output.
inline GemmSchedule make_schedule(int m, int n, int k, GemmS8Config config, bool split,
                                  int clusters) {
  constexpr int kPartCost = 5;  // of writing and merging a part, in blocks of K
  const auto ceil_div = [](int a, int b) { return (a + b - 1) / b; };
  const int rows = gemm_rows_per_block(config) * kGemmCluster;
  const int tiles_m = ceil_div(m, rows), tiles_n = ceil_div(n, config.tile_n);
  const int blocks = ceil_div(k, kGemmTileK);
  const int tiles = tiles_m * tiles_n, rest = tiles % clusters;
  const int tile_cost = blocks + (config.ping_pong ? 0 : 8);  // ping-pong hides the output
  GemmSchedule schedule{tiles_m, tiles_n, blocks, kGemmBandRows / rows, tiles, 1, 0};
  int rest_cost = rest > 0 ? tile_cost : 0;
  for (int chunks = 2; split && rest > 0 && chunks <= blocks; ++chunks) {
    const int rounds = ceil_div(rest * chunks, clusters);
    if (rounds > kMaxPartsPerCluster) break;
    const int cost = rounds * (ceil_div(blocks, chunks) + kPartCost);
    if (cost < rest_cost) {
      rest_cost = cost;
      schedule.chunks = chunks;
      schedule.whole = tiles - rest;
    }
  }
  schedule.cost = tiles / clusters * tile_cost + rest_cost;
  return schedule;
}

class GemmWorkList {
 public:
  __device__ GemmWorkList(const GemmSchedule& schedule, int cluster, int clusters)
      : schedule_(schedule), clusters_(clusters), next_(cluster) {}

  __device__ bool done() const { return next_ >= schedule_.whole + schedule_.parts(); }

  __device__ bool next(GemmWork& work) {
    if (done()) return false;
    int tile = next_;
    work.begin = 0;
    work.end = schedule_.blocks;
    work.part = next_ - schedule_.whole;
    if (work.part < 0) {
      work.part = -1;
    } else {
      const int chunk = work.part / schedule_.rest();
      tile = schedule_.whole + work.part % schedule_.rest();
      work.begin = schedule_.blocks * chunk / schedule_.chunks;
      work.end = schedule_.blocks * (chunk + 1) / schedule_.chunks;
    }
    schedule_.place(tile, work.row, work.column);
    next_ += clusters_;
    return true;
  }

 private:
  const GemmSchedule& schedule_;
  int clusters_, next_;
};

}  // namespace wf::kernels
