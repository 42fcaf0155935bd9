// What the passes of attention's backward share: a block's way through the list of tiles, and
// through the stages that its producer keeps filled. See kernels/attention_backward.cu.
#pragma once

#include "device/pipeline.cuh"
#include "device/wgmma_bf16.cuh"
#include "kernels/attention_backward.h"

namespace wf::kernels::attention {

constexpr int kDim = kAttentionHeadDim;
constexpr int kConsumerWarps = 8;
constexpr int kRows = 128;  // of the tile that a block sums for, 64 a consumer
constexpr int kStep = 64;   // rows of what it sums over, a stage
constexpr int kStages = 6;
constexpr int kRowBytes = 2 * kDim;
constexpr int kTileBytes = kRows * kRowBytes, kStepBytes = kStep * kRowBytes;
constexpr float kLog2e = 1.44269504f;
constexpr float kScale = 0.125f;  // 1 / sqrt(kDim)

struct Maps {
  CUtensorMap q, k, v, out, dout;
};

struct Problem {
  AttentionBackward p;
  // fp32 [heads, padded]: lse / ln 2 and rowsum(dO ∘ O) of a token.
  float *log2_sum, *delta;
  int2* document;  // [padded]: a token's document's begin and end; behind the tokens `padded` and 0
  int* taken;      // tiles that blocks have taken: of queries, of keys
  int padded;      // tokens, rounded up to kRows
  int sequence;    // tiles of a row of the batch, where all have as many, else of all tokens
  int together;  // rows of the batch that are walked together, so that L2 holds what is read again
  __host__ __device__ int tiles() const { return padded / kRows; }

  // First token of the tile `place`, counted through the first tiles of the rows that are walked
  // together, then their second ones, and so on; then through the next rows.
  __device__ int tile(int place) const {
    const int first = place / (together * sequence) * together;
    const int rows = min(together, tiles() / sequence - first), within = place - first * sequence;
    return ((first + within % rows) * sequence + within / rows) * kRows;
  }
};

struct alignas(1024) Shared {
  uint8_t own[2][3][kTileBytes];          // the block's tile, and the next: up to three matrices
  uint8_t stage[kStages][2][kStepBytes];  // what it sums over: two
  float row[kStages][2][kStep];           // log2_sum and delta of a stage's queries
  int item[2];                            // whose tiles they are; past the last at the end
  uint64_t own_full[2], own_empty[2], full[kStages], empty[kStages];
};

__device__ __forceinline__ Shared& start(uint8_t* memory) {
  Shared& s = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      barrier_init(&s.own_full[i], 1);
      barrier_init(&s.own_empty[i], kConsumerWarps);
    }
    for (int i = 0; i < kStages; ++i) {
      barrier_init(&s.full[i], 1);
      barrier_init(&s.empty[i], kConsumerWarps);
    }
    barrier_init_fence();
  }
  __syncthreads();
  return s;
}

// One thread of the third warpgroup produces, all of the others consume.
template <class Produce, class Consume>
__device__ __forceinline__ void take_roles(const Produce& produce, const Consume& consume) {
  if (threadIdx.x / kWarpgroup == 2) {
    registers_lower<40>();
    if (threadIdx.x == 2 * kWarpgroup) produce();
  } else {
    registers_raise<232>();
    consume();
  }
}

// Of a whole warp, which has read what the barrier guards.
__device__ __forceinline__ void arrive(uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) barrier_arrive(barrier, 0);
}

// The block's way through the list, for the producer: takes an item while the consumers work on the
// one before it.
class Taking {
 public:
  __device__ Taking(Shared& s, int* taken, int items) : s_(s), taken_(taken), items_(items) {}

  __device__ bool next(int& item) {
    item = atomicAdd(taken_, 1);
    ring_.advance();
    barrier_wait(&s_.own_empty[ring_.stage], ring_.parity ^ 1);
    s_.item[ring_.stage] = item;
    if (item >= items_) barrier_expect(&s_.own_full[ring_.stage], 0);
    return item < items_;
  }

  // The item's tile: 128 rows of each matrix.
  template <int kCount>
  __device__ void bring(const CUtensorMap* const (&matrices)[kCount], int column, int row) {
    uint64_t* full = &s_.own_full[ring_.stage];
    barrier_expect(full, kCount * kTileBytes);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      uint8_t* to = s_.own[ring_.stage][i];
      tma_load(to, *matrices[i], column, row, full);
      tma_load(to + kStepBytes, *matrices[i], column, row + kStep, full);
    }
  }

 private:
  Shared& s_;
  int* taken_;
  int items_;
  Ring<2> ring_{1, 1};
};

// The same for the consumers.
class Taken {
 public:
  __device__ Taken(Shared& s, int items) : s_(s), items_(items) {}

  // Waits for the next tile.
  __device__ bool next(int& item) {
    ring_.advance();
    barrier_wait(&s_.own_full[ring_.stage], ring_.parity);
    item = s_.item[ring_.stage];
    return item < items_;
  }

  // The warpgroup's half of one of its matrices.
  __device__ const uint8_t* half(int matrix) const {
    return s_.own[ring_.stage][matrix] + threadIdx.x / kWarpgroup * kStepBytes;
  }

  // To be called when the tile has been read.
  __device__ void done() { arrive(&s_.own_empty[ring_.stage]); }

 private:
  Shared& s_;
  int items_;
  Ring<2> ring_{1, 1};
};

// The stages that a warpgroup works on, of those that the producer brings for an item: `turns`
// times the rows from `begin` to below `end`; those that end before `low` or begin at `high` have
// nothing for it.
class Steps {
 public:
  __device__ Steps(Shared& s, Ring<kStages>& ring, int begin, int end, int turns, int low, int high)
      : s_(s),
        ring_(ring),
        begin_(begin),
        end_(end),
        low_(low),
        high_(high),
        at_(begin),
        left_(turns) {}

  // Waits for the next one, while those before may be in use; false when there is none.
  __device__ bool next(int& stage) {
    while (left_ > 0) {
      const int here = ring_.stage, row = at_;
      barrier_wait(&s_.full[here], ring_.parity);
      ring_.advance();
      if ((at_ += kStep) >= end_) at_ = begin_, --left_;
      if (row + kStep > low_ && row < high_) {
        stage = here, row_ = row;
        return true;
      }
      arrive(&s_.empty[here]);
    }
    return false;
  }

  __device__ int row() const { return row_; }  // the first of the stage

 private:
  Shared& s_;
  Ring<kStages>& ring_;
  int begin_, end_, low_, high_, at_, left_, row_ = 0;
};

// False, which the compiler cannot know. (ptxas moves arithmetic behind the waits for products that
// are to run beside it, but not arithmetic out of a loop.)
__device__ __forceinline__ bool never(int stage) {
  int beyond;
  asm volatile("shr.u32 %0, %1, 8;" : "=r"(beyond) : "r"(stage));
  return beyond != 0;
}

__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Where a thread's element i of an accumulator lies: column, and whether in its lower row.
__device__ __forceinline__ constexpr int column_of(int i) { return i / 4 * 8 + i % 2; }
__device__ __forceinline__ constexpr int lower(int i) { return i / 2 % 2; }

// Rows `row` and `row` + 8 of an accumulator, times `factor`, to out[row * pitch + column].
__device__ __forceinline__ void store_rows(const float (&acc)[32], float factor, __nv_bfloat16* out,
                                           int64_t pitch, int row, int rows) {
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    const int at = row + 8 * lower(i);
    if (at >= rows) continue;
    *reinterpret_cast<uint32_t*>(out + at * pitch + column_of(i) + threadIdx.x % 4 * 2) =
        pack_bf16(acc[i] * factor, acc[i + 1] * factor);
  }
}

}  // namespace wf::kernels::attention
