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
    const int column = work.column * kTileN;
    int acc[kTileN / 2];
    const RowScales row_scales(p, row);
    // Taking turns keeps the pair in the order of the stages; without it a wait could also match
    // the stage's use before last, for a barrier tells only odd uses from even ones.
    if (kPingPong && turn > 0) turn_wait(warpgroup);
    const uint32_t held = multiply<L, kTileN>(acc, p, shared, row_offset, work, ring);
    if (kPingPong && !list.done()) turn_pass(1 - warpgroup);
    finish_product<L, kTileN>(acc, shared, held);
    if constexpr (kFloatOutput) {
      const int slice = rank * (L::kRows / 64) + row_offset / 64;
      if (work.part >= 0) {
        store_part<kTileN>(acc, p, work.part * (L::kRows / 64 * L::kCluster) + slice);
      } else {
        store_f32<L, kTileN>(acc, p, shared, warp, row, column, row_scales);
      }
    } else {
      if (scales.same(column, column + kTileN)) {
        store_bf16<L, kTileN, true>(acc, p, shared, warp, row, column, scales, row_scales);
      } else {
        store_bf16<L, kTileN, false>(acc, p, shared, warp, row, column, scales, row_scales);
      }
    }
  }
  if (threadIdx.x % 32 == 0) tma_store_wait_read<0>();  // shared memory must outlive the reads
}

template <int kTileN, bool kPingPong, bool kFloatOutput, bool kHold>
__global__ void __launch_bounds__(kThreads, 1) gemm_s8_kernel(const __grid_constant__ Problem p) {
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
    consume<L, kTileN, kPingPong, kFloatOutput>(p, shared, cluster, clusters, rank);
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
  config.blockDim = dim3(kThreads);
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
  if (config.hold_b) {
    if (k > kGemmHeldBlocks * kTileK) return cudaErrorInvalidValue;
    if (config.tile_n == 192) return launch<192, true, false, true>(p, a, b, d, stream);
    if (config.tile_n == 256) return launch<256, true, false, true>(p, a, b, d, stream);
    return cudaErrorInvalidValue;
  }
#define WF_CASE(N, PING_PONG)                                \
  if (config.tile_n == N && config.ping_pong == PING_PONG) { \
    return launch<N, PING_PONG, false>(p, a, b, d, stream);  \
  }
  WF_CASE(256, false)
  WF_CASE(256, true)
  WF_CASE(192, false)
  WF_CASE(192, true)
#undef WF_CASE
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
#define WF_CASE(N, PING_PONG)                                \
  if (config.tile_n == N && config.ping_pong == PING_PONG) { \
    return launch<N, PING_PONG, true>(p, a, b, d, stream);   \
  }
  WF_CASE(256, false)
  WF_CASE(256, true)
  WF_CASE(192, false)
  WF_CASE(192, true)
#undef WF_CASE
  return cudaErrorInvalidValue;
}

}  // namespace wf::kernels
