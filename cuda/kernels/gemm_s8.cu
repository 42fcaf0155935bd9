// See gemm_s8.h for the formula. One block per SM walks its share of the output tiles: a producer
// thread keeps a ring of shared-memory stages filled by the copy engine, two consumer warpgroups
// multiply them on the tensor cores and write the scaled result.
#include "device/early_launch.cuh"
#include "device/gemm_mainloop.cuh"
#include "device/gemm_output.cuh"
#include "device/gemm_schedule.cuh"
#include "device/pipeline.cuh"
#include "device/processors.h"
#include "device/tensor_map.h"
#include "kernels/gemm_s8.h"

namespace wf::kernels {
namespace {

using namespace gemm;

constexpr int kMergeQuads = 2;  // per thread

// Adds up the parts of the split tiles. Block: one tile of the rest, one of its 64-row slices, and
// kMergeQuads quads of every thread of that slice.
template <int kTileN, int kSlices>
__global__ void __launch_bounds__(kWarpgroup)
    merge_parts_kernel(const __grid_constant__ Problem p) {
  wait_for_predecessor();
  constexpr int kRuns = kTileN / 8 / kMergeQuads;
  const GemmSchedule& schedule = p.schedule;
  const int tile = blockIdx.x / (kSlices * kRuns);
  const int slice = blockIdx.x / kRuns % kSlices;
  const int j = blockIdx.x % kRuns * kMergeQuads;
  int acc[4 * kMergeQuads] = {};
#pragma unroll 4
  for (int chunk = 0; chunk < schedule.chunks; ++chunk) {
    const size_t part = chunk * schedule.rest() + tile;
    const int4* from =
        p.partial + ((part * kSlices + slice) * (kTileN / 8) + j) * kWarpgroup + threadIdx.x;
#pragma unroll
    for (int i = 0; i < kMergeQuads; ++i) {
      const int4 v = __ldcg(from + i * kWarpgroup);
      acc[4 * i] += v.x;
      acc[4 * i + 1] += v.y;
      acc[4 * i + 2] += v.z;
      acc[4 * i + 3] += v.w;
    }
  }
  int row, column;
  schedule.place(schedule.whole + tile, row, column);
  store_quads<kMergeQuads>(acc, p, (row * kSlices + slice) * 64, column * kTileN, j, threadIdx.x);
}

template <class L, int kTileN, bool kPingPong, bool kFloatOutput>
__device__ __forceinline__ void consume(const Problem& p, uint8_t* shared, int cluster,
                                        int clusters, uint32_t rank) {
  const int warpgroup = threadIdx.x / kWarpgroup, warp = threadIdx.x / 32;
  const LoadedScales scales(p.columns);
  Ring<L::kStages> ring;
  GemmWorkList list(p.schedule, cluster, clusters);
  if (L::kHold) barrier_wait(reinterpret_cast<uint64_t*>(shared + L::kHeldFull), 0);
  int turn = 0;
  for (GemmWork work; list.next(work); ++turn) {
    if (kPingPong && (turn & 1) != warpgroup) {
      ring.skip(work.end - work.begin);
      continue;
    }
    const int row_offset = kPingPong ? 0 : warpgroup * 64;
    const int row = (work.row * L::kCluster + rank) * L::kRows + row_offset + warp % 4 * 16;
    int acc[kTileN / 2];
    const RowScales row_scales(p, row);
    // Taking turns keeps the pair in the order of the stages; without it a wait could also match
    // the stage's use before last, for a barrier tells only odd uses from even ones.
    if (kPingPong && turn > 0) turn_wait(warpgroup);
    const uint32_t held =
        multiply<L, kTileN, 0>(acc, p, shared, row_offset, work, ring, [](int) {});
    if (kPingPong && !list.done()) turn_pass(1 - warpgroup);
    finish_product<L, kTileN>(acc, shared, held);
    const Place place(row, work.column * kTileN, row_scales);
    if constexpr (kFloatOutput) {
      if (work.part >= 0) {
        const int slice = rank * (L::kRows / 64) + row_offset / 64;
        store_part<kTileN>(acc, p, work.part * (L::kRows / 64 * L::kCluster) + slice);
        continue;
      }
#pragma unroll
      for (int round = 0; round < kTileN / 32; ++round) {
        store_f32<L, kTileN>(acc, p, shared, warp, place, round);
      }
    } else {
      constexpr int kRounds = kTileN / 64, kTogether = L::kSlots == kRounds ? kRounds : 1;
      const bool one_scale = scales.same(place.column, place.column + kTileN);
#pragma unroll
      for (int round = 0; round < kRounds; round += kTogether) {
        if (one_scale) {
          store_bf16<L, kTileN, kTogether, true>(acc, p, shared, warp, place, scales, round);
        } else {
          store_bf16<L, kTileN, kTogether, false>(acc, p, shared, warp, place, scales, round);
        }
      }
    }
  }
}

// Two sets of accumulators take turns, so that the output of a tile overlaps the product of the
// next one.
template <class L, int kTileN>
__device__ __forceinline__ void consume_overlapped(const Problem& p, uint8_t* shared, int cluster,
                                                   int clusters, uint32_t rank) {
  constexpr int kRounds = kTileN / 64;
  const int warpgroup = threadIdx.x / kWarpgroup, warp = threadIdx.x / 32;
  const LoadedScales scales(p.columns);
  Ring<L::kStages> ring;
  GemmWorkList list(p.schedule, cluster, clusters);
  Place place;  // of the tile that is not written yet
  bool any = false;
  int even[kTileN / 2], odd[kTileN / 2];
  const auto store = [&](int (&acc)[kTileN / 2], int round) {
#pragma unroll
    for (int i = 0; i < 32; ++i) asm volatile("" : "+r"(acc[round * 32 + i]));  // not before here
    store_bf16<L, kTileN, 1, false>(acc, p, shared, warp, place, scales, round);
  };
  const auto turn = [&](int (&acc)[kTileN / 2], int (&before)[kTileN / 2]) {
    GemmWork work;
    if (!list.next(work)) {
#pragma unroll
      for (int round = 0; round < kRounds; ++round) store(before, round);
      return false;
    }
    const int row = (work.row * L::kCluster + rank) * L::kRows + warpgroup * 64 + warp % 4 * 16;
    const auto beside = [&](int round) {
      if (any) store(before, round);
    };
    const uint32_t held =
        multiply<L, kTileN, kRounds>(acc, p, shared, warpgroup * 64, work, ring, beside);
    const RowScales row_scales(p, row);  // comes while the last block is multiplied
    finish_product<L, kTileN>(acc, shared, held);
    place = Place(row, work.column * kTileN, row_scales);
    any = true;
    return true;
  };
  do {
    wgmma_wait<0>();  // waits for nothing, but tells ptxas that no product is under way here
  } while (turn(even, odd) && turn(odd, even));
}

template <int kTileN, bool kPingPong, bool kFloatOutput, bool kHold>
__global__ void __launch_bounds__(kPipelineThreads, 1)
    gemm_s8_kernel(const __grid_constant__ Problem p) {
  using L = Layout<kTileN, kPingPong, kFloatOutput, kHold>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t rank = cluster_rank();
  const int cluster = blockIdx.x / L::kCluster, clusters = gridDim.x / L::kCluster;
  if (threadIdx.x == 0) {
    uint64_t* full = reinterpret_cast<uint64_t*>(shared + L::kFull);
    uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
    for (int i = 0; i < L::kStages; ++i) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], (kPingPong ? 4 : 8) * L::kCluster);  // one arrival per consuming warp
    }
    barrier_init(reinterpret_cast<uint64_t*>(shared + L::kHeldFull), 1);
    barrier_init_fence();
  }
  cluster_sync();
  wait_for_predecessor();
  if (threadIdx.x / kWarpgroup == 2) {
    registers_lower<40>();
    if (threadIdx.x == 2 * kWarpgroup) {
      produce<L, kTileN>(p, shared, cluster, clusters, rank);
    }
    __syncwarp();
  } else {
    registers_raise<232>();
    if constexpr (L::kOverlap) {
      consume_overlapped<L, kTileN>(p, shared, cluster, clusters, rank);
    } else {
      consume<L, kTileN, kPingPong, kFloatOutput>(p, shared, cluster, clusters, rank);
    }
    if (threadIdx.x % 32 == 0) tma_store_wait_read<0>();  // shared memory must outlive the reads
  }
  cluster_sync();  // the other block may still copy into this one's memory or arrive at its
                   // barriers
}

template <int kTileN, bool kPingPong, bool kFloatOutput, bool kHold = false>
cudaError_t launch(Problem& p, const int8_t* a, const int8_t* b, void* d, cudaStream_t stream) {
  using L = Layout<kTileN, kPingPong, kFloatOutput, kHold>;
  cudaError_t status =
      make_tensor_map(&p.a, a, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.m, p.k, p.k, L::kRows);
  if (status != cudaSuccess) return status;
  status =
      make_tensor_map(&p.b, b, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.n, p.k, p.k, kTileN / L::kCluster);
  if (status != cudaSuccess) return status;
  constexpr auto kType =
      kFloatOutput ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  status = make_tensor_map(&p.d, d, kType, p.m, p.n, p.n, 16);
  if (status != cudaSuccess) return status;
  constexpr GemmS8Config kConfig = {kTileN, kPingPong, kHold};
  const int clusters = gemm_clusters(p.n, kConfig, processor_count());
  if (clusters == 0) return kHold ? cudaErrorInvalidValue : cudaErrorNoDevice;
  p.schedule = make_schedule(p.m, p.n, p.k, kConfig, kFloatOutput, clusters);
  const int units = p.schedule.whole + p.schedule.parts();
  const int used = units < clusters ? units : clusters;

  const auto kernel = gemm_s8_kernel<kTileN, kPingPong, kFloatOutput, kHold>;
  status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, L::kBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchAttribute attributes[2] = {early_launch()};
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {L::kCluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(used * L::kCluster);
  config.blockDim = dim3(kPipelineThreads);
  config.dynamicSmemBytes = L::kBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  status = cudaLaunchKernelEx(&config, kernel, p);
  if (kFloatOutput && status == cudaSuccess && p.schedule.rest() > 0) {
    constexpr int kSlices = L::kRows * L::kCluster / 64;
    const int blocks = p.schedule.rest() * kSlices * (kTileN / 8 / kMergeQuads);
    launch_early(merge_parts_kernel<kTileN, kSlices>, blocks, kWarpgroup, 0, stream, p);
    status = cudaGetLastError();
  }
  return status;
}

bool valid(int m, int n, int k, const ColumnScales& columns) {
  if (m < 1 || n < 16 || n % 16 != 0 || k < 16 || k % 16 != 0 || k > kMaxK) return false;
  if (columns.count < 0 || columns.count > kMaxColumnSegments) return false;
  for (int i = 0, start = 0; i < columns.count; start = columns.end[i++]) {
    if (columns.end[i] <= start || columns.end[i] % 16 != 0) return false;
  }
  return columns.count == 0 || columns.end[columns.count - 1] == n;
}

}  // namespace

cudaError_t gemm_s8_bf16(const int8_t* a, const int8_t* b, const float* row_scale,
                         const ColumnScales& columns, __nv_bfloat16* d, int m, int n, int k,
                         GemmS8Config config, cudaStream_t stream) {
  if (!valid(m, n, k, columns)) return cudaErrorInvalidValue;
  Problem p = {};
  p.row_scale = row_scale;
  p.columns = columns;
  p.m = m, p.n = n, p.k = k;
  p.half_tail = (k - 1) % kTileK < kTileK / 2;
  if (config.tile_n == 192 && config.ping_pong && config.hold_b) {
    if (k > kGemmHeldBlocks * kTileK) return cudaErrorInvalidValue;
    return launch<192, true, false, true>(p, a, b, d, stream);
  }
  if (config.ping_pong || config.hold_b) return cudaErrorInvalidValue;
  if (config.tile_n == 192) return launch<192, false, false>(p, a, b, d, stream);
  if (config.tile_n == 256) return launch<256, false, false>(p, a, b, d, stream);
  return cudaErrorInvalidValue;
}

cudaError_t gemm_s8_f32(const int8_t* a, const int8_t* b, const float* row_scale, float* d, int m,
                        int n, int k, void* workspace, GemmS8Config config, cudaStream_t stream) {
  if (!valid(m, n, k, {})) return cudaErrorInvalidValue;
  Problem p = {};
  p.row_scale = row_scale;
  p.out = d;
  p.partial = static_cast<int4*>(workspace);
  p.m = m, p.n = n, p.k = k;
  p.half_tail = (k - 1) % kTileK < kTileK / 2;
  if (config.hold_b) return cudaErrorInvalidValue;
  if (config.tile_n == 256) {
    return config.ping_pong ? launch<256, true, true>(p, a, b, d, stream)
                            : launch<256, false, true>(p, a, b, d, stream);
  }
  if (config.tile_n == 192 && !config.ping_pong)
    return launch<192, false, true>(p, a, b, d, stream);
  return cudaErrorInvalidValue;
}

}  // namespace wf::kernels
