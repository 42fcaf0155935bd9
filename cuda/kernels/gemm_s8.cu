// See gemm_s8.h for the formula. One block per SM walks its share of the output tiles: a producer
// thread keeps a ring of shared-memory stages filled by the copy engine, two consumer warpgroups
// multiply them on the tensor cores and write the scaled result.
#include "kernels/gemm_s8.h"

#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/gemm_schedule.cuh"
#include "device/pipeline.cuh"
#include "device/tensor_map.h"
#include "device/wgmma_s8.cuh"

namespace wf::kernels {
namespace {

constexpr int kWarpgroup = 128;
constexpr int kThreads = 3 * kWarpgroup;  // consumers 0 and 1, producer 2
constexpr int kTileK = 128;               // bytes of K per stage: one row of the 128-byte swizzle
constexpr int kStepK = 32;                // bytes of K per tensor-core instruction
constexpr int kSharedBytes = 232448;      // what a block of sm_90 may use
constexpr int kMaxTileBytes = 128 * 256 * 4;  // int32 partial sums of one block's tile
constexpr int kBandRows = 2048;           // output rows walked together, see GemmSchedule::group
constexpr int kMaxK = ((1 << 24) - 1) / 127 / 16 * 16;

struct Problem {
  CUtensorMap a, b, d;  // d: bf16 output only
  const float* row_scale;
  ColumnScales columns;
  float* out;       // fp32 output only
  int* partial;     // [split tile, block of the cluster, warpgroup][fragment register][thread]
  int* arrived;     // [split tile, block of the cluster, warpgroup]: blocks of K merged so far
  bool accumulate;
  bool half_tail;   // the last block of K holds at most half a stage
  int m, n, k;
  GemmSchedule schedule;
};

template <int kTileN, bool kPingPong, int kCluster, bool kFloatOutput>
struct Layout {
  static constexpr int kRows = kPingPong ? 64 : 128;  // of A per block
  static constexpr int kBytesA = kRows * kTileK;
  static constexpr int kBytesB = kTileN * kTileK;
  static constexpr int kBytesSlot = 64 * 128;  // output staging: 64 rows x 64 bf16 columns
  static constexpr int kSlots = kFloatOutput ? 0 : (!kPingPong && kTileN == 256) ? 2 : kTileN / 64;
  static constexpr int kBarrierBytes = 256;
  static constexpr int kStages =
      (kSharedBytes - 2 * kSlots * kBytesSlot - kBarrierBytes) / (kBytesA + kBytesB);
  // Offsets in shared memory; matrices first, for the swizzle wants 1024-byte alignment.
  static constexpr int kB = kStages * kBytesA;
  static constexpr int kStaging = kB + kStages * kBytesB;
  static constexpr int kFull = kStaging + 2 * kSlots * kBytesSlot;
  static constexpr int kEmpty = kFull + kStages * 8;
  static constexpr int kBytes = kEmpty + kStages * 8;
  static_assert(kBytes <= kSharedBytes && kStages >= 3);
};

// Position in the ring of stages; the parity tells a stage's uses apart.
template <int kStages>
struct Ring {
  uint32_t stage = 0, parity = 0;

  __device__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
  __device__ void skip(uint32_t blocks) {
    const uint32_t to = stage + blocks;
    stage = to % kStages;
    parity ^= to / kStages & 1;
  }
};

template <class L, int kTileN, int kCluster>
__device__ __forceinline__ void produce(const Problem& p, uint8_t* shared, int cluster,
                                        int clusters, uint32_t rank) {
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + L::kFull);
  uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
  Ring<L::kStages> ring;
  GemmWorkList list(p.schedule, cluster, clusters);
  for (GemmWork work; list.next(work);) {
    const int row = (work.row * kCluster + rank) * L::kRows;
    const int column = work.column * kTileN;
    for (int block = work.begin; block < work.end; ++block, ring.advance()) {
      const uint32_t stage = ring.stage;
      barrier_wait(&empty[stage], ring.parity ^ 1);
      barrier_expect(&full[stage], L::kBytesA + L::kBytesB);
      tma_load(shared + stage * L::kBytesA, p.a, block * kTileK, row, &full[stage]);
      uint8_t* b = shared + L::kB + stage * L::kBytesB;
      if constexpr (kCluster == 1) {
        tma_load(b, p.b, block * kTileK, column, &full[stage]);
      } else {  // each block of the pair fetches half of the shared tile for both
        tma_load_multicast(b + rank * (L::kBytesB / 2), p.b, block * kTileK,
                           column + rank * (kTileN / 2), &full[stage], 0b11);
      }
    }
  }
}

// Issues acc = A[64 rows, blocks begin..end] * B^T stage by stage and hands each stage back once it
// was read. Returns the last stage, which finish_product() hands back.
template <class L, int kTileN, int kCluster>
__device__ __forceinline__ uint32_t multiply(int (&acc)[kTileN / 2], const Problem& p,
                                             uint8_t* shared, int row_offset, const GemmWork& work,
                                             Ring<L::kStages>& ring) {
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + L::kFull);
  uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
  const int lane = threadIdx.x % 32;
  uint32_t held = 0;  // stage that the product in flight still reads
  const auto take = [&](int steps, bool first) {
    const uint32_t stage = ring.stage;
    barrier_wait(&full[stage], ring.parity);
    const uint64_t a = wgmma_descriptor(shared + stage * L::kBytesA + row_offset * kTileK);
    const uint64_t b = wgmma_descriptor(shared + L::kB + stage * L::kBytesB);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < steps; ++step) {
      wgmma_s8(acc, a + 2 * step, b + 2 * step, step > 0 || !first);
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (!first && lane < kCluster) barrier_arrive(&empty[held], lane);
    held = stage;
    ring.advance();
  };
  constexpr int kSteps = kTileK / kStepK;
  const bool half = work.end == p.schedule.blocks && p.half_tail;
  for (int block = work.begin; block < work.end - half; ++block) take(kSteps, block == work.begin);
  if (half) take(kSteps / 2, work.begin + 1 == work.end);
  return held;
}

// Waits for the product; acc may be used afterwards.
template <class L, int kTileN, int kCluster>
__device__ __forceinline__ void finish_product(int (&acc)[kTileN / 2], uint8_t* shared,
                                               uint32_t held) {
  wgmma_wait<0>();
  const int lane = threadIdx.x % 32;
  uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
  if (lane < kCluster) barrier_arrive(&empty[held], lane);
#pragma unroll
  for (int i = 0; i < kTileN / 2; ++i) asm volatile("" : "+r"(acc[i]));  // no use before the wait
}

// Named barriers of the block.
__device__ __forceinline__ void warpgroup_sync(int warpgroup) {
  asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1) : "memory");
}
__device__ __forceinline__ void turn_wait(int warpgroup) {
  asm volatile("bar.sync %0, 256;" ::"r"(warpgroup + 3) : "memory");
}
__device__ __forceinline__ void turn_pass(int to_warpgroup) {
  asm volatile("bar.arrive %0, 256;" ::"r"(to_warpgroup + 3) : "memory");
}

__device__ __forceinline__ float row_factor(const Problem& p, int row) {
  return p.row_scale != nullptr && row < p.m ? __fdiv_rn(1.0f, p.row_scale[row]) : 1.0f;
}

// Scales to bf16 and stores through shared memory, every warp on its own: 16 rows x 64 columns a time.
template <class L, int kTileN>
__device__ __forceinline__ void store_bf16(const int (&acc)[kTileN / 2], const Problem& p,
                                           uint8_t* shared, int warp, int row, int column,
                                           const LoadedScales& scales) {
  const int lane = threadIdx.x % 32;
  const float factor0 = row_factor(p, row + lane / 4);
  const float factor1 = row_factor(p, row + lane / 4 + 8);
  const uint32_t staging =
      shared_address(shared + L::kStaging + warp * L::kSlots * (L::kBytesSlot / 4));
#pragma unroll
  for (int round = 0; round < kTileN / 64; ++round) {
    const uint32_t slot = staging + round % L::kSlots * (L::kBytesSlot / 4);
    if (lane == 0) tma_store_wait_read<L::kSlots - 1>();
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 4; ++j) {  // 16 columns: two 8x8 matrices beside each other, two below
      const float scale = scales.at(column + round * 64 + j * 16);
      const float s0 = __fmul_rn(scale, factor0), s1 = __fmul_rn(scale, factor1);
      const int* v = acc + round * 32 + j * 8;
      const uint32_t address =
          slot + lane % 16 * 128 + (((2 * j + lane / 16) ^ (lane % 8)) << 4);
      asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
                   "r"(pack_bf16(v[0] * s0, v[1] * s0)), "r"(pack_bf16(v[2] * s1, v[3] * s1)),
                   "r"(pack_bf16(v[4] * s0, v[5] * s0)), "r"(pack_bf16(v[6] * s1, v[7] * s1))
                   : "memory");
    }
    async_proxy_fence();
    __syncwarp();
    if (lane == 0) tma_store(p.d, column + round * 64, row, slot);
  }
}

// Adds this part of a split tile to the others. True for the warpgroup that came last: it then holds
// the whole sum, and the workspace is zero again.
template <int kTileN>
__device__ __forceinline__ bool merge_split(int (&acc)[kTileN / 2], const Problem& p, int tile,
                                            int warpgroup, int blocks) {
  __shared__ int merged[2];
  const int thread = threadIdx.x % kWarpgroup;
  int* partial = p.partial + static_cast<size_t>(tile) * (kTileN / 2) * kWarpgroup + thread;
#pragma unroll
  for (int i = 0; i < kTileN / 2; ++i) atomicAdd(partial + i * kWarpgroup, acc[i]);
  __threadfence();
  warpgroup_sync(warpgroup);
  if (thread == 0) merged[warpgroup] = atomicAdd(p.arrived + tile, blocks) + blocks;
  warpgroup_sync(warpgroup);
  if (merged[warpgroup] != p.schedule.blocks) return false;
  __threadfence();
#pragma unroll
  for (int i = 0; i < kTileN / 2; ++i) {
    acc[i] = __ldcg(partial + i * kWarpgroup);
    __stcg(partial + i * kWarpgroup, 0);
  }
  if (thread == 0) p.arrived[tile] = 0;
  return true;
}

template <int kTileN>
__device__ __forceinline__ void store_f32(const int (&acc)[kTileN / 2], const Problem& p, int row,
                                          int column) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + lane / 4 + 8 * half;
    if (r >= p.m) continue;
    const float factor = row_factor(p, r);
    float* out = p.out + static_cast<size_t>(r) * p.n + column + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kTileN / 8; ++j) {
      if (column + 8 * j >= p.n) break;
      float2 value = {__fmul_rn(acc[4 * j + 2 * half], factor),
                      __fmul_rn(acc[4 * j + 2 * half + 1], factor)};
      float2* to = reinterpret_cast<float2*>(out + 8 * j);
      if (p.accumulate) value = {__fadd_rn(to->x, value.x), __fadd_rn(to->y, value.y)};
      *to = value;
    }
  }
}

template <class L, int kTileN, bool kPingPong, int kCluster, bool kFloatOutput>
__device__ __forceinline__ void consume(const Problem& p, uint8_t* shared, int cluster,
                                        int clusters, uint32_t rank) {
  const int warpgroup = threadIdx.x / kWarpgroup, warp = threadIdx.x / 32;
  const LoadedScales scales(p.columns);
  Ring<L::kStages> ring;
  GemmWorkList list(p.schedule, cluster, clusters);
  int turn = 0;
  for (GemmWork work; list.next(work); ++turn) {
    if (kPingPong && (turn & 1) != warpgroup) {
      ring.skip(work.end - work.begin);
      continue;
    }
    const int row_offset = kPingPong ? 0 : warpgroup * 64;
    const int row = (work.row * kCluster + rank) * L::kRows + row_offset + warp % 4 * 16;
    const int column = work.column * kTileN;
    int acc[kTileN / 2];
    // Taking turns keeps the pair in the order of the stages; without it a wait could also match the
    // stage's use before last, for a barrier tells only odd uses from even ones.
    if (kPingPong && turn > 0) turn_wait(warpgroup);
    const uint32_t held = multiply<L, kTileN, kCluster>(acc, p, shared, row_offset, work, ring);
    if (kPingPong && !list.done()) turn_pass(1 - warpgroup);
    finish_product<L, kTileN, kCluster>(acc, shared, held);
    if constexpr (kFloatOutput) {
      const int tile = (work.split * kCluster + rank) * 2 + warpgroup;
      if (work.split < 0 ||
          merge_split<kTileN>(acc, p, tile, warpgroup, work.end - work.begin)) {
        store_f32<kTileN>(acc, p, row, column);
      }
    } else {
      store_bf16<L, kTileN>(acc, p, shared, warp, row, column, scales);
    }
  }
  if constexpr (!kFloatOutput) {
    if (threadIdx.x % 32 == 0) tma_store_wait_read<0>();  // shared memory must outlive the reads
  }
}

template <int kTileN, bool kPingPong, int kCluster, bool kFloatOutput>
__global__ void __launch_bounds__(kThreads, 1) gemm_s8_kernel(const __grid_constant__ Problem p) {
  using L = Layout<kTileN, kPingPong, kCluster, kFloatOutput>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t rank = kCluster == 1 ? 0 : cluster_rank();
  const int cluster = blockIdx.x / kCluster, clusters = gridDim.x / kCluster;
  if (threadIdx.x == 0) {
    uint64_t* full = reinterpret_cast<uint64_t*>(shared + L::kFull);
    uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
    for (int i = 0; i < L::kStages; ++i) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], (kPingPong ? 4 : 8) * kCluster);  // one arrival per consuming warp
    }
    barrier_init_fence();
  }
  cluster_sync();
  if (threadIdx.x / kWarpgroup == 2) {
    registers_lower<40>();
    if (threadIdx.x == 2 * kWarpgroup) {
      produce<L, kTileN, kCluster>(p, shared, cluster, clusters, rank);
    }
    __syncwarp();
  } else {
    registers_raise<232>();
    consume<L, kTileN, kPingPong, kCluster, kFloatOutput>(p, shared, cluster, clusters, rank);
  }
  cluster_sync();  // the other block may still copy into this one's memory or arrive at its barriers
}

template <int kTileN, bool kPingPong, int kCluster, bool kFloatOutput>
cudaError_t launch(Problem& p, const int8_t* a, const int8_t* b, __nv_bfloat16* d,
                   cudaStream_t stream) {
  using L = Layout<kTileN, kPingPong, kCluster, kFloatOutput>;
  cudaError_t status =
      make_tensor_map(&p.a, a, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.m, p.k, L::kRows);
  if (status != cudaSuccess) return status;
  status = make_tensor_map(&p.b, b, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.n, p.k, kTileN / kCluster);
  if (status != cudaSuccess) return status;
  if (!kFloatOutput) {
    status = make_tensor_map(&p.d, d, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, p.m, p.n, 16);
    if (status != cudaSuccess) return status;
  }
  int device, processors;
  if ((status = cudaGetDevice(&device)) != cudaSuccess) return status;
  status = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (status != cudaSuccess) return status;
  constexpr int kClusterRows = L::kRows * kCluster;
  const int clusters = processors / kCluster;
  p.schedule = make_schedule((p.m + kClusterRows - 1) / kClusterRows,
                             (p.n + kTileN - 1) / kTileN, (p.k + kTileK - 1) / kTileK,
                             kBandRows / kClusterRows, clusters, kFloatOutput);
  const int used = p.schedule.whole > 0 ? clusters : p.schedule.ranges;

  const auto kernel = gemm_s8_kernel<kTileN, kPingPong, kCluster, kFloatOutput>;
  status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, L::kBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kCluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(used * kCluster);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = L::kBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, p);
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
#define WF_CASE(N, PING_PONG, CLUSTER)                                                          \
  if (config.tile_n == N && config.ping_pong == PING_PONG && config.cluster == CLUSTER) {       \
    return launch<N, PING_PONG, CLUSTER, false>(p, a, b, d, stream);                            \
  }
  WF_CASE(256, false, 1)
  WF_CASE(256, false, 2)
  WF_CASE(256, true, 1)
  WF_CASE(256, true, 2)
  WF_CASE(192, false, 2)
  WF_CASE(192, true, 1)
  WF_CASE(192, true, 2)
  WF_CASE(128, true, 2)
#undef WF_CASE
  return cudaErrorInvalidValue;
}

cudaError_t gemm_s8_f32(const int8_t* a, const int8_t* b, const float* row_scale, bool accumulate,
                        float* d, int m, int n, int k, void* workspace, GemmS8Config config,
                        cudaStream_t stream) {
  if (!valid(m, n, k, {})) return cudaErrorInvalidValue;
  Problem p = {};
  p.row_scale = row_scale;
  p.out = d;
  p.accumulate = accumulate;
  p.arrived = static_cast<int*>(workspace);
  p.partial = p.arrived + kMaxTileBytes / 4;
  p.m = m, p.n = n, p.k = k;
  p.half_tail = (k - 1) % kTileK < kTileK / 2;
#define WF_CASE(N, CLUSTER)                                                          \
  if (config.tile_n == N && !config.ping_pong && config.cluster == CLUSTER) {       \
    return launch<N, false, CLUSTER, true>(p, a, b, nullptr, stream);                            \
  }
  WF_CASE(256, 1)
  WF_CASE(256, 2)
  WF_CASE(192, 1)
  WF_CASE(192, 2)
#undef WF_CASE
  return cudaErrorInvalidValue;
}

size_t gemm_s8_workspace_bytes() {
  int device, processors;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    return 0;
  }
  return static_cast<size_t>(processors + 1) * kMaxTileBytes;
}

GemmS8Config gemm_s8_bf16_config(int m, int n, int k) {
  return {256, true, 2};
}

GemmS8Config gemm_s8_f32_config(int m, int n, int k) {
  return {256, false, 2};
}

}  // namespace wf::kernels
