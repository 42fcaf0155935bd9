// Which way of cutting the work a product gets. The figures come from a sweep of every product of
// the three reference models on an H200: tests/bench/results/kernels.md.
#include "device/gemm_schedule.cuh"
#include "device/processors.h"
#include "kernels/gemm_s8.h"

namespace wf::kernels {

GemmS8Config gemm_s8_bf16_config(int, int n, int k) {
  const auto padded = [&](int tile) { return (n + tile - 1) / tile * tile; };
  // 192 columns where they waste clearly (6 %) fewer of the last tile's.
  const bool narrow = 16 * padded(256) > 17 * padded(192);
  // b read anew for every tile is what L2 cannot deliver beside a short product; at most a tenth of
  // the card may stay idle. At the swept shapes what is not narrow writes so much more than it
  // reads that holding b does not pay.
  const int processors = processor_count();
  const GemmS8Config hold = {192, true, true};
  if (narrow && k <= kGemmHeldBlocks * kGemmTileK &&
      10 * gemm_clusters(n, hold, processors) >= 9 * processors) {
    return hold;
  }
  // With 192 columns the output costs no time of its own; in long products it weighs little, and
  // 256 columns read less.
  const bool output_weighs = k < 1536 || (k < 6400 && padded(192) == padded(256));
  return {narrow || output_weighs ? 192 : 256, false};
}

GemmS8Config gemm_s8_f32_config(int m, int n, int k) {
  struct Candidate {
    GemmS8Config config;
    double rate;  // multiply-adds of a long product, relative to each other
  };
  constexpr Candidate kCandidates[] = {
      {{256, false}, 1300}, {{256, true}, 1220}, {{192, false}, 1290}};
  const int clusters = processor_count() / kGemmCluster;
  GemmS8Config best = kCandidates[0].config;
  double best_time = 0;
  for (const Candidate& candidate : kCandidates) {
    if (clusters == 0) break;
    const GemmS8Config& config = candidate.config;
    const double time = static_cast<double>(make_schedule(m, n, k, config, true, clusters).cost) *
                        gemm_rows_per_block(config) * config.tile_n / candidate.rate;
    if (best_time == 0 || time < best_time) {
      best = config;
      best_time = time;
    }
  }
  return best;
}

size_t gemm_s8_workspace_bytes() {
  constexpr size_t kTileBytes = 128 * 256 * sizeof(int);  // partial sums of one block's tile
  return kMaxPartsPerCluster * processor_count() * kTileBytes;
}

}  // namespace wf::kernels
