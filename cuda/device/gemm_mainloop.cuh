// The int8 product's working parts: what a block is given, the ring of shared-memory stages between
// its producer and its consumers, and the loop over K on the tensor cores. For kernels/gemm_s8.cu.
#pragma once

#include "device/gemm_schedule.cuh"
#include "device/pipeline.cuh"
#include "device/wgmma_s8.cuh"
#include "kernels/gemm_s8.h"

namespace wf::kernels::gemm {

constexpr int kTileK = kGemmTileK;
constexpr int kStepK = 32;            // bytes of K per tensor-core instruction
constexpr int kSharedBytes = 232448;  // what a block of sm_90 may use
constexpr int kMaxK = ((1 << 24) - 1) / 127 / 16 * 16;

struct Problem {
  CUtensorMap a, b, d;
  const float* row_scale;
  ColumnScales columns;
  float* out;      // fp32 output: d, for the parts
  int4* partial;   // [part, 64-row slice of the cluster tile][kTileN / 8][thread]: fragments
  bool half_tail;  // the last block of K holds at most half a stage
  int m, n, k;
  GemmSchedule schedule;
};

// kHold: the tile of b stays in shared memory; otherwise it goes through the ring as a does.
// kOverlap: a warpgroup has two sets of accumulators.
template <int kTileN, bool kPingPong, bool kFloatOutput, bool kHold_>
struct Layout {
  static constexpr bool kHold = kHold_;
  static constexpr bool kOverlap = kTileN == 192 && !kPingPong && !kFloatOutput;
  static constexpr int kCluster = kHold ? 1 : kGemmCluster;
  static constexpr int kRows = kPingPong ? 64 : 128;  // of A per block
  static constexpr int kBytesA = kRows * kTileK;
  static constexpr int kBytesB = kTileN * kTileK;
  static constexpr int kBytesSlot = 64 * 128;  // output staging: 64 rows x 64 bf16 or 32 fp32
  // What the stages leave room for.
  static constexpr int kSlots = kTileN == 256 && !kPingPong ? 2 : kFloatOutput ? 1 : kTileN / 64;
  static constexpr int kBarrierBytes = 256;
  static constexpr int kBytesHeld = kHold ? kGemmHeldBlocks * kBytesB : 0;
  static constexpr int kBytesStage = kBytesA + (kHold ? 0 : kBytesB);
  static constexpr int kStages =
      (kSharedBytes - kBytesHeld - 2 * kSlots * kBytesSlot - kBarrierBytes) / kBytesStage;
  // Offsets in shared memory; matrices first, for the swizzle wants 1024-byte alignment.
  static constexpr int kB = kStages * kBytesA;
  static constexpr int kStaging = kB + (kHold ? kBytesHeld : kStages * kBytesB);
  static constexpr int kFull = kStaging + 2 * kSlots * kBytesSlot;
  static constexpr int kEmpty = kFull + kStages * 8;
  static constexpr int kHeldFull = kEmpty + kStages * 8;
  static constexpr int kBytes = kHeldFull + 8;
  static_assert(kBytes <= kSharedBytes && kStages >= 3);
};

template <class L, int kTileN>
__device__ __forceinline__ void produce(const Problem& p, uint8_t* shared, int cluster,
                                        int clusters, uint32_t rank) {
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + L::kFull);
  uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
  Ring<L::kStages> ring;
  GemmWorkList list(p.schedule, cluster, clusters);
  bool first = true;
  for (GemmWork work; list.next(work); first = false) {
    const int row = (work.row * L::kCluster + rank) * L::kRows;
    const int column = work.column * kTileN;
    if (L::kHold && first) {  // all of a block's tiles lie in this column
      uint64_t* held_full = reinterpret_cast<uint64_t*>(shared + L::kHeldFull);
      barrier_expect(held_full, work.end * L::kBytesB);
      for (int block = 0; block < work.end; ++block) {
        tma_load(shared + L::kB + block * L::kBytesB, p.b, block * kTileK, column, held_full);
      }
    }
    for (int block = work.begin; block < work.end; ++block, ring.advance()) {
      const uint32_t stage = ring.stage;
      barrier_wait(&empty[stage], ring.parity ^ 1);
      barrier_expect(&full[stage], L::kBytesStage);
      tma_load(shared + stage * L::kBytesA, p.a, block * kTileK, row, &full[stage]);
      if constexpr (!L::kHold) {
        uint8_t* b = shared + L::kB + stage * L::kBytesB;
        // Each block of the pair fetches half of the shared tile for both.
        tma_load_multicast(b + rank * (L::kBytesB / L::kCluster), p.b, block * kTileK,
                           column + rank * (kTileN / L::kCluster), &full[stage], 0b11);
      }
    }
  }
}

// Issues acc = A[64 rows, blocks begin..end] * B^T stage by stage and hands each stage back once it
// was read. Calls beside(i) for i < kBeside, while products run as far as there are blocks. Returns
// the last stage, which finish_product() hands back.
template <class L, int kTileN, int kBeside, class Beside>
__device__ __forceinline__ uint32_t multiply(int (&acc)[kTileN / 2], const Problem& p,
                                             uint8_t* shared, int row_offset, const GemmWork& work,
                                             Ring<L::kStages>& ring, const Beside& beside) {
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + L::kFull);
  uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
  const int lane = threadIdx.x % 32;
  uint32_t held = 0;  // stage that the product in flight still reads
  const auto take = [&](int steps, int block) {
    const uint32_t stage = ring.stage;
    const bool first = block == work.begin;
    barrier_wait(&full[stage], ring.parity);
    const uint64_t a = wgmma_descriptor(shared + stage * L::kBytesA + row_offset * kTileK);
    const uint64_t b = wgmma_descriptor(shared + L::kB + (L::kHold ? block : stage) * L::kBytesB);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < steps; ++step) {
      wgmma_s8(acc, a + 2 * step, b + 2 * step, step > 0 || !first);
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (!first && lane < L::kCluster) barrier_arrive(&empty[held], lane);
    held = stage;
    ring.advance();
  };
  constexpr int kSteps = kTileK / kStepK;
  const int whole = work.end - (work.end == p.schedule.blocks && p.half_tail);
  int block = work.begin;
#pragma unroll
  for (int i = 0; i < kBeside; ++i) {
    if (block < whole) take(kSteps, block++);
    beside(i);
  }
  for (; block < whole; ++block) take(kSteps, block);
  if (whole < work.end) take(kSteps / 2, whole);
  return held;
}

// Waits for the product; acc may be used afterwards.
template <class L, int kTileN>
__device__ __forceinline__ void finish_product(int (&acc)[kTileN / 2], uint8_t* shared,
                                               uint32_t held) {
  wgmma_wait<0>();
  const int lane = threadIdx.x % 32;
  uint64_t* empty = reinterpret_cast<uint64_t*>(shared + L::kEmpty);
  if (lane < L::kCluster) barrier_arrive(&empty[held], lane);
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

}  // namespace wf::kernels::gemm
