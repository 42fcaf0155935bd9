// Which cluster computes which part of a product: whole output tiles in rounds, and, where asked for,
// the tiles that do not fill a last round cut along K into equal ranges, one per cluster.
#pragma once

#include <cuda_runtime_api.h>

namespace wf::kernels {

struct GemmWork {
  int row, column;   // cluster tile coordinates
  int begin, end;    // blocks along K
  int split;         // number of the split tile this is a part of, -1 for a whole tile
};

struct GemmSchedule {
  int tiles_m, tiles_n;  // cluster tiles
  int blocks;            // along K, per tile
  int group;             // rows of tiles walked together, so that a round's operands stay in L2
  int whole;             // tiles that one cluster computes alone
  int ranges;            // clusters that share the rest
};

inline GemmSchedule make_schedule(int tiles_m, int tiles_n, int blocks, int group, int clusters,
                                  bool split) {
  constexpr int kMinBlocks = 8;  // a shorter range costs more to merge than it computes
  const int tiles = tiles_m * tiles_n;
  const int rest = split ? tiles % clusters : 0;
  const int wanted = (rest * blocks + kMinBlocks - 1) / kMinBlocks;
  return {tiles_m, tiles_n, blocks, group, tiles - rest, wanted < clusters ? wanted : clusters};
}

class GemmWorkList {
 public:
  __device__ GemmWorkList(const GemmSchedule& schedule, int cluster, int clusters)
      : schedule_(schedule), clusters_(clusters), tile_(cluster), position_(0), end_(0) {
    const int rest = (schedule.tiles_m * schedule.tiles_n - schedule.whole) * schedule.blocks;
    if (cluster < schedule.ranges) {
      position_ = static_cast<long long>(rest) * cluster / schedule.ranges;
      end_ = static_cast<long long>(rest) * (cluster + 1) / schedule.ranges;
    }
  }

  __device__ bool next(GemmWork& work) {
    const int blocks = schedule_.blocks;
    if (tile_ < schedule_.whole) {
      work.begin = 0;
      work.end = blocks;
      work.split = -1;
      place(work, tile_);
      tile_ += clusters_;
      return true;
    }
    if (position_ == end_) return false;
    const int rest_tile = position_ / blocks;
    work.begin = position_ - rest_tile * blocks;
    work.end = min(blocks, work.begin + end_ - position_);
    work.split = work.end - work.begin < blocks ? rest_tile : -1;
    place(work, schedule_.whole + rest_tile);
    position_ += work.end - work.begin;
    return true;
  }

  __device__ bool done() const { return tile_ >= schedule_.whole && position_ == end_; }

 private:
  __device__ void place(GemmWork& work, int tile) const {
    const int band = schedule_.group * schedule_.tiles_n;
    const int first_row = tile / band * schedule_.group;
    const int rows = min(schedule_.group, schedule_.tiles_m - first_row);
    work.row = first_row + tile % band % rows;
    work.column = tile % band / rows;
  }

  const GemmSchedule& schedule_;
  int clusters_, tile_, position_, end_;
};

}  // namespace wf::kernels
