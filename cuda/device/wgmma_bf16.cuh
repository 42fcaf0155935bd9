// bf16 matrix multiply of a warpgroup with a narrow result: accumulator[64, 64] (+)= A[64, 16] *
// B[16, 64], fp32 sums (PTX wgmma.mma_async.m64n64k16.f32.bf16.bf16). A comes from registers, B
// from shared memory, where a row of 64 values lies along K or along N.
//
// Fragments: thread t of the warpgroup holds rows 16*(t/32) + (t%32)/4 (+ 8). Of an accumulator the
// columns 8*j + 2*(t%4) (+ 1) as [4*j + {0, 1 | 2, 3 for the row + 8}]. Of A, for the step i along
// K, what the accumulator has in columns 16*i to 16*i + 15, pairs packed: a product's result
// becomes the next one's A without leaving the thread.
#pragma once

#include "device/bf16.cuh"
#include "device/wgmma_s8.cuh"

namespace wf::kernels {

using FragmentA = uint32_t[4];  // [64, 16] of a warpgroup

// A [64, 64] accumulator as A, written before whatever fence stands behind this.
__device__ __forceinline__ void pack_fragments(const float (&acc)[32], FragmentA (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    a[i / 4][i % 4] = pack_bf16(acc[2 * i], acc[2 * i + 1]);
    asm volatile("" : "+r"(a[i / 4][i % 4]));
  }
}

// A from registers; B's rows lie along K (it is stored as [N, K]). accumulate == 0 overwrites the
// accumulator.
__device__ __forceinline__ void wgmma_bf16(float (&d)[32], const FragmentA& a, uint64_t b,
                                           int accumulate) {
  asm volatile(
      "{ .reg .pred p;\n setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

// A from registers; B's rows lie along N (it is stored as [K, N]).
__device__ __forceinline__ void wgmma_bf16(float (&d)[32], const FragmentA& a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Takes the warpgroup's A from a tile of rows of 64 values, 128-byte swizzled.
__device__ __forceinline__ void load_fragments(const void* tile, FragmentA (&a)[4]) {
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane % 16;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t address =
        shared_address(tile) + row * 128 + (((2 * i + lane / 16) ^ (row % 8)) << 4);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[i][0]), "=r"(a[i][1]), "=r"(a[i][2]), "=r"(a[i][3])
                 : "r"(address)
                 : "memory");
  }
}

// To stand at the end of a loop in which every turn multiplies the same A: ptxas 13.0 does not see
// that the next turn will need it, and gives its registers to another A, unless something else uses
// it. `never` is false in a way that the compiler cannot know; a loop, for it to be a branch.
__device__ __forceinline__ void keep(const FragmentA (&a)[4], bool never) {
  while (never) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      asm volatile("st.shared.b32 [%0], %0;" ::"r"(a[i / 4][i % 4]) : "memory");
    }
  }
}

// A tile in shared memory, [64, 64] with rows of 128 bytes, 128-byte swizzled, named the way wgmma
// wants it. The reduction leaves the name in a uniform register: without it every product first
// moves its own there, which takes as long as the product.
class Tile {
 public:
  __device__ explicit Tile(const void* tile)
      : low_(__reduce_or_sync(0xffffffff, static_cast<uint32_t>(wgmma_descriptor(tile)))),
        high_(wgmma_descriptor(nullptr) >> 32) {}

  // `bytes` further on, a multiple of 16.
  __device__ uint64_t at(int bytes) const {
    return static_cast<uint64_t>(high_) << 32 | (low_ + bytes / 16);
  }

 private:
  uint32_t low_, high_;
};

// d = A * Bᵀ, B `bytes` behind the tile.
__device__ __forceinline__ void multiply(float (&d)[32], const FragmentA (&a)[4], const Tile& b,
                                         int bytes) {
#pragma unroll
  for (int i = 0; i < 4; ++i) wgmma_bf16(d, a[i], b.at(bytes + 32 * i), i > 0);
}

// d += A * B and e = C * Dᵀ, likewise; their steps alternate, because a step that adds to the one
// before waits for it longer than so narrow a step takes.
__device__ __forceinline__ void add_product_and_multiply(float (&d)[32], const FragmentA (&a)[4],
                                                         const Tile& b, int b_bytes, float (&e)[32],
                                                         const FragmentA (&c)[4], const Tile& t,
                                                         int t_bytes) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    wgmma_bf16(d, a[i], b.at(b_bytes + 2048 * i));
    wgmma_bf16(e, c[i], t.at(t_bytes + 32 * i), i > 0);
  }
}

// d += A * B.
__device__ __forceinline__ void add_product(float (&d)[32], const FragmentA (&a)[4], const Tile& b,
                                            int bytes) {
#pragma unroll
  for (int i = 0; i < 4; ++i) wgmma_bf16(d, a[i], b.at(bytes + 2048 * i));
}

// To stand behind the wait for a product: keeps what uses its result from moving ahead of it.
__device__ __forceinline__ void settle(float (&d)[32]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) asm volatile("" : "+f"(d[i]));
}

}  // namespace wf::kernels
