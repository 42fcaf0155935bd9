// Which cluster computes which part of a product: whole output tiles in rounds and, where that
// pays, the tiles that do not fill a last round cut along K into equal chunks. Chunks are walked
// chunk by chunk, not tile by tile, so that the clusters read the same part of K at the same time
// and share it in L2.
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "kernels/gemm_s8.h"

namespace wf::kernels {

struct GemmWork {
  int row, column;  // cluster tile coordinates
  int begin, end;   // blocks along K
  int part;         // number of this chunk among all chunks, -1 for a whole tile
};

// Divides by a number known on the host, with a product instead of the thirty instructions of a
// division.
class Divisor {
 public:
  Divisor(int value) : value_(value), inverse_(static_cast<uint32_t>((1ull << 32) / value)) {
    if (value == 1) inverse_ = UINT32_MAX;
  }

  __device__ int value() const { return value_; }

  // n >= 0.
  __device__ int divide(int n, int& remainder) const {
    int quotient = __umulhi(n, inverse_);  // or one less than it should be
    remainder = n - quotient * value_;
    if (remainder >= value_) ++quotient, remainder -= value_;
    return quotient;
  }

 private:
  int value_;
  uint32_t inverse_;
};

struct GemmSchedule {
  int tiles_m, tiles_n;  // cluster tiles
  int blocks;            // along K, per tile
  int whole;             // tiles that one cluster computes alone
  int chunks;            // per tile of the rest
  int cost;              // of the busiest cluster, in blocks of K
  // Rows of tiles that are walked together, so that a round's operands stay in L2: a band. The last
  // band has the rows that are left.
  Divisor group, last_group, band;

  GemmSchedule() : GemmSchedule(1, 1, 1, 1) {}
  GemmSchedule(int tiles_m, int tiles_n, int blocks, int group)
      : tiles_m(tiles_m),
        tiles_n(tiles_n),
        blocks(blocks),
        whole(tiles_m * tiles_n),
        chunks(1),
        cost(0),
        group(group),
        last_group((tiles_m - 1) % group + 1),
        band(group * tiles_n) {}

  __host__ __device__ int rest() const { return tiles_m * tiles_n - whole; }
  __host__ __device__ int parts() const { return rest() * chunks; }

  __device__ void place(int tile, int& row, int& column) const {
    int within;
    const int first_row = band.divide(tile, within) * group.value();
    const Divisor& rows = first_row + group.value() <= tiles_m ? group : last_group;
    column = rows.divide(within, row);
    row += first_row;
  }
};

constexpr int kMaxPartsPerCluster = 4;  // bounds the workspace

constexpr int kGemmCluster = 2;      // blocks that share the tile of b
constexpr int kGemmTileK = 128;      // bytes of K per block of K: one row of the 128-byte swizzle
constexpr int kGemmBandRows = 2048;  // output rows walked together, see GemmSchedule::group

constexpr int kGemmHeldBlocks = 5;  // of K that a block can hold of its tile of b

inline int gemm_rows_per_block(GemmS8Config config) { return config.ping_pong ? 64 : 128; }

// Clusters that share the work. Those that hold b keep to a column of tiles, so their number is a
// multiple of the columns'; 0 when there are more columns than processors.
inline int gemm_clusters(int n, GemmS8Config config, int processors) {
  if (!config.hold_b) return processors / kGemmCluster;
  const int columns = (n + config.tile_n - 1) / config.tile_n;
  return processors / columns * columns;
}

// split: whether tiles may be cut along K, as they are for fp32 output.
inline GemmSchedule make_schedule(int m, int n, int k, GemmS8Config config, bool split,
                                  int clusters) {
  constexpr int kPartCost = 5;  // of writing and merging a part, in blocks of K
  const auto ceil_div = [](int a, int b) { return (a + b - 1) / b; };
  const int rows = gemm_rows_per_block(config) * (config.hold_b ? 1 : kGemmCluster);
  const int tiles_m = ceil_div(m, rows), tiles_n = ceil_div(n, config.tile_n);
  const int blocks = ceil_div(k, kGemmTileK);
  const int tiles = tiles_m * tiles_n, rest = tiles % clusters;
  const int tile_cost = blocks + (config.ping_pong ? 0 : 8);  // ping-pong hides the output
  const int group = config.hold_b ? 1 : kGemmBandRows / rows;
  GemmSchedule schedule(tiles_m, tiles_n, blocks, group);
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
