// dQ, and rowsum(dO ∘ O) for the pass over keys: a block takes tiles of queries and sums over the
// keys that they see. See kernels/attention_backward.h.
#pragma once

#include "device/attention_tiles.cuh"
#include "device/early_launch.cuh"

namespace wf::kernels::attention {

struct QueryTile {
  int query, head;
  int key_begin, key_end;
  __device__ QueryTile(const Problem& p, int item) {
    head = item % p.p.heads;
    query = p.tile(p.tiles() - 1 - item / p.p.heads);  // late ones have most keys
    key_begin = p.document[query].x / kStep * kStep;
    key_end = min(query + kRows, p.p.tokens);
  }
};

__device__ __forceinline__ void produce_keys(const Problem& p, const Maps& maps, Shared& s) {
  Ring<kStages> ring;
  const int group = p.p.heads / p.p.kv_heads;
  Taking list(s, p.taken, p.tiles() * p.p.heads);
  for (int item; list.next(item);) {
    const QueryTile tile(p, item);
    list.bring({&maps.q, &maps.dout, &maps.out}, tile.head * kDim, tile.query);
#pragma unroll 1
    for (int key = tile.key_begin; key < tile.key_end; key += kStep, ring.advance()) {
      uint64_t* full = &s.full[ring.stage];
      barrier_wait(&s.empty[ring.stage], ring.parity ^ 1);
      barrier_expect(full, 2 * kStepBytes);
      tma_load(s.stage[ring.stage][0], maps.k, tile.head / group * kDim, key, full);
      tma_load(s.stage[ring.stage][1], maps.v, tile.head / group * kDim, key, full);
    }
  }
}

// Of each of a thread's two rows, the products of what lies at the same place of a and b, added up.
__device__ __forceinline__ void row_products(const FragmentA (&a)[4], const FragmentA (&b)[4],
                                             float (&sum)[2]) {
  sum[0] = sum[1] = 0;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const uint32_t x = a[i / 4][i % 4], y = b[i / 4][i % 4];
    float& row = sum[i % 2];
    row = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), row);
    row = fmaf(__uint_as_float(x & 0xffff0000u), __uint_as_float(y & 0xffff0000u), row);
  }
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    sum[row] += __shfl_xor_sync(0xffffffff, sum[row], 1);
    sum[row] += __shfl_xor_sync(0xffffffff, sum[row], 2);
  }
}

__device__ __forceinline__ void consume_keys(const Problem& p, Shared& s) {
  const int warpgroup = threadIdx.x / kWarpgroup, lane_column = threadIdx.x % 4 * 2;
  Ring<kStages> ring;
  Taken list(s, p.tiles() * p.p.heads);
  for (int item; list.next(item);) {
    const QueryTile tile(p, item);
    const int first = tile.query + warpgroup * kStep;  // query of the warpgroup
    const int row = first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    const int64_t at = static_cast<int64_t>(tile.head) * p.padded + row;
    const float log2_sum[2] = {p.log2_sum[at], p.log2_sum[at + 8]};
    const int begin[2] = {p.document[row].x, p.document[row + 8].x};
    // Keys from `seen` to `first` + 63 meet some query; from `plain` to `first` all.
    const int seen = p.document[first].x, plain = p.document[first + kStep - 1].x;
    FragmentA q[4], dout[4], out[4];
    load_fragments(list.half(0), q);
    load_fragments(list.half(1), dout);
    load_fragments(list.half(2), out);
    list.done();
    float delta[2];
    row_products(dout, out, delta);
    if (lane_column == 0) p.delta[at] = delta[0], p.delta[at + 8] = delta[1];
    float dq[32];
#pragma unroll
    for (int i = 0; i < 32; ++i) dq[i] = 0;
    settle(dq);
    Steps steps(s, ring, tile.key_begin, tile.key_end, 1, seen, first + kStep);
    int stage;
    if (steps.next(stage)) {
      float score[32], dp[32], probability[32];
      FragmentA ds[4];
      const auto exponentials = [&] {
        settle(score);
        const int key = steps.row();
        if (key + kStep - 1 > first || key < plain) {
#pragma unroll
          for (int i = 0; i < 32; ++i) {
            const int column = column_of(i) + lane_column + key;
            if (column > row + 8 * lower(i) || column < begin[lower(i)]) score[i] = -INFINITY;
          }
        }
        do {
#pragma unroll
          for (int i = 0; i < 32; ++i) {
            probability[i] = exp2_approximate(fmaf(score[i], kScale * kLog2e, -log2_sum[lower(i)]));
          }
        } while (never(stage));
      };
      const auto differences = [&] {
#pragma unroll
        for (int i = 0; i < 32; ++i) dp[i] = probability[i] * (dp[i] - delta[lower(i)]);
        pack_fragments(dp, ds);
      };
      Tile tile_at(s.stage[stage]);
      wgmma_fence();
      multiply(score, q, tile_at, 0);
      wgmma_commit();
      multiply(dp, dout, tile_at, kStepBytes);
      wgmma_commit();
      wgmma_wait<1>();
      exponentials();
      wgmma_wait<0>();
      settle(dp);
      for (int next; steps.next(next);) {
        const int last = stage;
        const Tile next_tile(s.stage[next]);
        wgmma_fence();
        multiply(score, q, next_tile, 0);
        wgmma_commit();
        differences();
        stage = next;
        wgmma_fence();
        add_product_and_multiply(dq, ds, tile_at, 0, dp, dout, next_tile, kStepBytes);
        wgmma_commit();
        wgmma_wait<1>();
        exponentials();
        wgmma_wait<0>();
        settle(dp);
        arrive(&s.empty[last]);
        tile_at = next_tile;
        keep(q, never(last));
        keep(dout, never(last));
      }
      differences();
      wgmma_fence();
      add_product(dq, ds, tile_at, 0);
      wgmma_commit();
      wgmma_wait<0>();
      arrive(&s.empty[stage]);
    }
    settle(dq);
    store_rows(dq, kScale, p.p.dq + tile.head * kDim, static_cast<int64_t>(p.p.heads) * kDim, row,
               p.p.tokens);
  }
}

__global__ void __launch_bounds__(kPipelineThreads, 1)
    attention_queries_kernel(const __grid_constant__ Problem p, const __grid_constant__ Maps maps) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& s = start(memory);
  wait_for_predecessor();
  take_roles([&] { produce_keys(p, maps, s); }, [&] { consume_keys(p, s); });
}

}  // namespace wf::kernels::attention
