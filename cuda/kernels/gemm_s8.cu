// See gemm_s8.h for the formula. One block per SM walks its share of the output tiles: a producer
// thread keeps a ring of shared-memory stages filled by the copy engine, two consumer warpgroups
// multiply them on the tensor cores and write the scaled result.
#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/gemm_schedule.cuh"
#include "device/pipeline.cuh"
#include "device/processors.h"
#include "device/tensor_map.h"
#include "device/wgmma_s8.cuh"
#include "kernels/gemm_s8.h"

namespace wf::kernels {
namespace {

constexpr int kWarpgroup = 128;
constexpr int kThreads = 3 * kWarpgroup;  // consumers 0 and 1, producer 2
constexpr int kCluster = kGemmCluster;
constexpr int kTileK = kGemmTileK;
constexpr int kStepK = 32;            // bytes of K per tensor-core instruction
constexpr int kSharedBytes = 232448;  // what a block of sm_90 may use
constexpr int kMaxK = ((1 << 24) - 1) / 127 / 16 * 16;

struct Problem {
  CUtensorMap a, b, d;  // d: bf16 output only
  const float* row_scale;
  ColumnScales columns;
  float* out;     // fp32 output only
  int4* partial;  // [part, 64-row slice of the cluster tile][kTileN / 8][thread]: fragments
  bool accumulate;
  bool half_tail;  // the last block of K holds at most half a stage
  int m, n, k;
  GemmSchedule schedule;
};

template <int kTileN, bool kPingPong, bool kFloatOutput>
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

template <class L, int kTileN>
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
      // Each block of the pair fetches half of the shared tile for both.
      tma_load_multicast(b + rank * (L::kBytesB / kCluster), p.b, block * kTileK,
                         column + rank * (kTileN / kCluster), &full[stage], 0b11);
    }
  }
}

// Issues acc = A[64 rows, blocks begin..end] * B^T stage by stage and hands each stage back once it
// was read. Returns the last stage, which finish_product() hands back.
template <class L, int kTileN>
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
template <class L, int kTileN>
__device__ __forceinline__ void finish_product(int (&acc)[kTileN / 2], uint8_t* shared,
                                               uint32_t held) {
  wgmma_wait<0>();
  const int lane = threadIdx.x % 32;
  uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
  if (lane < kCluster) barrier_arrive(&empty[held], lane);
#pragma unroll
  for (int i = 0; i < kTileN / 2; ++i) asm volatile("" : "+r"(acc[i]));  // no use before the wait
}

// Named barriers of the block, one per warpgroup.
__device__ __forceinline__ void turn_wait(int warpgroup) {
  asm volatile("bar.sync %0, 256;" ::"r"(warpgroup + 1) : "memory");
}
__device__ __forceinline__ void turn_pass(int to_warpgroup) {
  asm volatile("bar.arrive %0, 256;" ::"r"(to_warpgroup + 1) : "memory");
}

__device__ __forceinline__ float row_factor(const Problem& p, int row) {
  return p.row_scale != nullptr && row < p.m ? __fdiv_rn(1.0f, p.row_scale[row]) : 1.0f;
}

// Scales to bf16 and stores through shared memory, every warp on its own: 16 rows x 64 columns a
// time.
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
      const uint32_t address = slot + lane % 16 * 128 + (((2 * j + lane / 16) ^ (lane % 8)) << 4);
      asm volatile(
          "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
          "r"(pack_bf16(v[0] * s0, v[1] * s0)), "r"(pack_bf16(v[2] * s1, v[3] * s1)),
          "r"(pack_bf16(v[4] * s0, v[5] * s0)), "r"(pack_bf16(v[6] * s1, v[7] * s1))
          : "memory");
    }
    async_proxy_fence();
    __syncwarp();
    if (lane == 0) tma_store(p.d, column + round * 64, row, slot);
  }
}

// Four values of a fragment, fragment registers 4j .. 4j + 3: two columns of two rows.
struct Quad {
  int row, column;  // of value 0; values 2 and 3 lie 8 rows below
};

// Place of a thread's quad j in a 64-row slice whose first row and column are given.
__device__ __forceinline__ Quad quad_place(int slice_row, int column, int j, int thread) {
  return {slice_row + thread / 32 * 16 + thread % 32 / 4, column + 8 * j + thread % 4 * 2};
}

// d (+)= float(acc) * factor for kQuads quads beginning at j; reads all of d before it writes.
template <int kQuads>
__device__ __forceinline__ void store_f32(const int* acc, const Problem& p, int slice_row,
                                          int column, int j, int thread) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = quad_place(slice_row, column, j, thread).row + 8 * half;
    if (row >= p.m) continue;
    const float factor = row_factor(p, row);
    float2 value[kQuads];
    const auto at = [&](int i) {
      const size_t first = static_cast<size_t>(row) * p.n;
      return reinterpret_cast<float2*>(p.out + first + quad_place(0, column, j + i, thread).column);
    };
    const auto inside = [&](int i) { return column + 8 * (j + i) < p.n; };
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      value[i] = p.accumulate && inside(i) ? *at(i) : float2{0.0f, 0.0f};
    }
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      const float x = __fmul_rn(acc[4 * i + 2 * half], factor);
      const float y = __fmul_rn(acc[4 * i + 2 * half + 1], factor);
      if (inside(i)) *at(i) = {__fadd_rn(value[i].x, x), __fadd_rn(value[i].y, y)};
    }
  }
}

// A part of a split tile, for merge_parts_kernel.
template <int kTileN>
__device__ __forceinline__ void store_part(const int (&acc)[kTileN / 2], const Problem& p,
                                           int slice) {
  int4* to =
      p.partial + static_cast<size_t>(slice) * (kTileN / 8) * kWarpgroup + threadIdx.x % kWarpgroup;
#pragma unroll
  for (int j = 0; j < kTileN / 8; ++j) {
    __stcg(to + j * kWarpgroup,
           make_int4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]));
  }
}

constexpr int kMergeQuads = 2;  // per thread

// Adds up the parts of the split tiles. Block: one tile of the rest, one of its 64-row slices, and
// kMergeQuads quads of every thread of that slice.
template <int kTileN, int kSlices>
__global__ void __launch_bounds__(kWarpgroup)
    merge_parts_kernel(const __grid_constant__ Problem p) {
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
  store_f32<kMergeQuads>(acc, p, (row * kSlices + slice) * 64, column * kTileN, j, threadIdx.x);
}

template <class L, int kTileN, bool kPingPong, bool kFloatOutput>
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
    // Taking turns keeps the pair in the order of the stages; without it a wait could also match
    // the stage's use before last, for a barrier tells only odd uses from even ones.
    if (kPingPong && turn > 0) turn_wait(warpgroup);
    const uint32_t held = multiply<L, kTileN>(acc, p, shared, row_offset, work, ring);
    if (kPingPong && !list.done()) turn_pass(1 - warpgroup);
    finish_product<L, kTileN>(acc, shared, held);
    if constexpr (kFloatOutput) {
      const int slice = rank * (L::kRows / 64) + row_offset / 64;
      if (work.part >= 0) {
        store_part<kTileN>(acc, p, work.part * (L::kRows / 64 * kCluster) + slice);
      } else {
        constexpr int kQuads = 8;
        const int slice_row = (work.row * kCluster + rank) * L::kRows + row_offset;
#pragma unroll
        for (int j = 0; j < kTileN / 8; j += kQuads) {
          store_f32<kQuads>(acc + 4 * j, p, slice_row, column, j, threadIdx.x % kWarpgroup);
        }
      }
    } else {
      store_bf16<L, kTileN>(acc, p, shared, warp, row, column, scales);
    }
  }
  if constexpr (!kFloatOutput) {
    if (threadIdx.x % 32 == 0) tma_store_wait_read<0>();  // shared memory must outlive the reads
  }
}

template <int kTileN, bool kPingPong, bool kFloatOutput>
__global__ void __launch_bounds__(kThreads, 1) gemm_s8_kernel(const __grid_constant__ Problem p) {
  using L = Layout<kTileN, kPingPong, kFloatOutput>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t rank = cluster_rank();
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

template <int kTileN, bool kPingPong, bool kFloatOutput>
cudaError_t launch(Problem& p, const int8_t* a, const int8_t* b, __nv_bfloat16* d,
                   cudaStream_t stream) {
  using L = Layout<kTileN, kPingPong, kFloatOutput>;
  cudaError_t status = make_tensor_map(&p.a, a, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.m, p.k, L::kRows);
  if (status != cudaSuccess) return status;
  status = make_tensor_map(&p.b, b, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.n, p.k, kTileN / kCluster);
  if (status != cudaSuccess) return status;
  if (!kFloatOutput) {
    status = make_tensor_map(&p.d, d, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, p.m, p.n, 16);
    if (status != cudaSuccess) return status;
  }
  const int clusters = processor_count() / kCluster;
  if (clusters == 0) return cudaErrorNoDevice;
  p.schedule = make_schedule(p.m, p.n, p.k, {kTileN, kPingPong}, kFloatOutput, clusters);
  const int units = p.schedule.whole + p.schedule.parts();
  const int used = units < clusters ? units : clusters;

  const auto kernel = gemm_s8_kernel<kTileN, kPingPong, kFloatOutput>;
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
  status = cudaLaunchKernelEx(&config, kernel, p);
  if (kFloatOutput && status == cudaSuccess && p.schedule.rest() > 0) {
    constexpr int kSlices = L::kRows * kCluster / 64;
    const int blocks = p.schedule.rest() * kSlices * (kTileN / 8 / kMergeQuads);
    merge_parts_kernel<kTileN, kSlices><<<blocks, kWarpgroup, 0, stream>>>(p);
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

cudaError_t gemm_s8_f32(const int8_t* a, const int8_t* b, const float* row_scale, bool accumulate,
                        float* d, int m, int n, int k, void* workspace, GemmS8Config config,
                        cudaStream_t stream) {
  if (!valid(m, n, k, {})) return cudaErrorInvalidValue;
  Problem p = {};
  p.row_scale = row_scale;
  p.out = d;
  p.accumulate = accumulate;
  p.partial = static_cast<int4*>(workspace);
  p.m = m, p.n = n, p.k = k;
  p.half_tail = (k - 1) % kTileK < kTileK / 2;
#define WF_CASE(N, PING_PONG)                                    \
  if (config.tile_n == N && config.ping_pong == PING_PONG) {     \
    return launch<N, PING_PONG, true>(p, a, b, nullptr, stream); \
  }
  WF_CASE(256, false)
  WF_CASE(256, true)
  WF_CASE(192, false)
  WF_CASE(192, true)
#undef WF_CASE
  return cudaErrorInvalidValue;
}

}  // namespace wf::kernels
