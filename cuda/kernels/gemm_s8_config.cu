// Which way of cutting the work a product gets. The figures come from a sweep of every product of
// the three reference models on an H200: tests/bench/results/kernels.md.
#include "device/gemm_schedule.cuh"
#include "device/processors.h"
#include "kernels/gemm_s8.h"

namespace wf::kernels {

GemmS8Config gemm_s8_bf16_config(int, int n, int k) {
  const auto padded = [&](int tile) { return (n + tile - 1) / tile * tile; };
  // 192 columns where they waste clearly (6 %) fewer of the last tile's. Ping-pong hides the
  // output, which counts while K is short; two warpgroups on one tile read less through L2.
  if (16 * padded(256) > 17 * padded(192)) return {192, k <= 640};
  return {256, k < 6400};
}

GemmS8Config gemm_s8_f32_config(int m, int n, int k) {
  struct Candidate {
    GemmS8Config config;
    double rate;  // multiply-adds of a long product, relative to each other
  };
  constexpr Candidate kCandidates[] = {
      {{256, false}, 1300}, {{256, true}, 1220}, {{192, false}, 1290}, {{192, true}, 1060}};
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
