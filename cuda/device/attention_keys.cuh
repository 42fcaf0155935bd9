// dK and dV: a block takes tiles of keys and sums over the queries that see them, for all heads of
// a group. See kernels/attention_backward.h.
#pragma once

#include "device/attention_tiles.cuh"
#include "device/early_launch.cuh"

namespace wf::kernels::attention {

struct KeyTile {
  int key, head;  // first key, head of keys
  int query_end;  // of the last document in the tile
  __device__ KeyTile(const Problem& p, int item) {
    head = item % p.p.kv_heads;
    key = p.tile(item / p.p.kv_heads);  // early ones have most queries
    const int last = min(key + kRows, p.p.tokens) - 1;
    query_end = p.document[last].y;
  }
};

__device__ __forceinline__ void produce_queries(const Problem& p, const Maps& maps, Shared& s) {
  Ring<kStages> ring;
  const int group = p.p.heads / p.p.kv_heads;
  Taking list(s, p.taken + 1, p.tiles() * p.p.kv_heads);
  for (int item; list.next(item);) {
    const KeyTile tile(p, item);
    list.bring({&maps.k, &maps.v}, tile.head * kDim, tile.key);
    for (int head = tile.head * group; head < (tile.head + 1) * group; ++head) {
#pragma unroll 1
      for (int query = tile.key; query < tile.query_end; query += kStep, ring.advance()) {
        uint64_t* full = &s.full[ring.stage];
        barrier_wait(&s.empty[ring.stage], ring.parity ^ 1);
        barrier_expect(full, 2 * kStepBytes + 2 * kStep * 4);
        tma_load(s.stage[ring.stage][0], maps.q, head * kDim, query, full);
        tma_load(s.stage[ring.stage][1], maps.dout, head * kDim, query, full);
        const int64_t at = static_cast<int64_t>(head) * p.padded + query;
        bulk_load(s.row[ring.stage][0], p.log2_sum + at, kStep * 4, full);
        bulk_load(s.row[ring.stage][1], p.delta + at, kStep * 4, full);
      }
    }
  }
}

__device__ __forceinline__ void consume_queries(const Problem& p, Shared& s) {
  const int warpgroup = threadIdx.x / kWarpgroup, lane_column = threadIdx.x % 4 * 2;
  const int group = p.p.heads / p.p.kv_heads;
  Ring<kStages> ring;
  Taken list(s, p.tiles() * p.p.kv_heads);
  for (int item; list.next(item);) {
    const KeyTile tile(p, item);
    FragmentA k[4], v[4];
    load_fragments(list.half(0), k);
    load_fragments(list.half(1), v);
    list.done();
    const int first = tile.key + warpgroup * kStep;  // key of the warpgroup
    const int row = first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    const int end[2] = {p.document[row].y, p.document[row + 8].y};
    // Queries from `first` to below `seen` meet some key; from `first` + 63 to below `plain` all.
    const int seen = first < p.p.tokens ? tile.query_end : 0;
    const int plain = first + kStep <= p.p.tokens ? p.document[first].y : 0;
    float dk[32], dv[32];
#pragma unroll
    for (int i = 0; i < 32; ++i) dk[i] = dv[i] = 0;
    settle(dk);
    settle(dv);
    Steps steps(s, ring, tile.key, tile.query_end, group, first, seen);
    int stage;
    if (steps.next(stage)) {
      float score[32], dp[32];
      FragmentA probability[4], ds[4];
      const auto exponentials = [&] {  // P of steps.row()
        settle(score);
        const int query = steps.row();
        if (query < first + kStep - 1 || query + kStep > plain) {
          const int from = row - query - lane_column;
#pragma unroll
          for (int i = 0; i < 32; ++i) {
            const int c = column_of(i) - 8 * lower(i);
            const int until = end[lower(i)] - query - lane_column;
            if (c < from || column_of(i) >= until) score[i] = -INFINITY;
          }
        }
        do {
#pragma unroll
          for (int i = 0; i < 32; i += 4) {
            const float2 sum =
                *reinterpret_cast<const float2*>(&s.row[stage][0][column_of(i) + lane_column]);
#pragma unroll
            for (int j = i; j < i + 4; ++j) {
              score[j] =
                  exp2_approximate(fmaf(score[j], kScale * kLog2e, j % 2 == 0 ? -sum.x : -sum.y));
            }
          }
          pack_fragments(score, probability);
        } while (never(stage));
      };
      const auto differences = [&] {  // dS
#pragma unroll
        for (int i = 0; i < 32; i += 4) {
          const float2 delta =
              *reinterpret_cast<const float2*>(&s.row[stage][1][column_of(i) + lane_column]);
#pragma unroll
          for (int j = i; j < i + 4; j += 2) {
            const uint32_t pair = probability[j / 8][j / 2 % 4];
            dp[j] = __uint_as_float(pair << 16) * (dp[j] - delta.x);
            dp[j + 1] = __uint_as_float(pair & 0xffff0000u) * (dp[j + 1] - delta.y);
          }
        }
        pack_fragments(dp, ds);
      };
      // The next step's scores, and dV's product, are under way while a warpgroup takes
      // differences, the next step's dP, and dK's product, while it takes exponentials.
      Tile tile_at(s.stage[stage]);
      wgmma_fence();
      multiply(score, k, tile_at, 0);
      wgmma_commit();
      multiply(dp, v, tile_at, kStepBytes);
      wgmma_commit();
      wgmma_wait<1>();
      exponentials();
      wgmma_wait<0>();
      settle(dp);
      for (int next; steps.next(next);) {
        const int last = stage;
        const Tile next_tile(s.stage[next]);
        wgmma_fence();
        add_product_and_multiply(dv, probability, tile_at, kStepBytes, score, k, next_tile, 0);
        wgmma_commit();
        differences();
        stage = next;
        wgmma_fence();
        add_product_and_multiply(dk, ds, tile_at, 0, dp, v, next_tile, kStepBytes);
        wgmma_commit();
        wgmma_wait<1>();
        exponentials();
        wgmma_wait<0>();
        settle(dp);
        arrive(&s.empty[last]);
        tile_at = next_tile;
        keep(k, never(last));
        keep(v, never(last));
      }
      wgmma_fence();
      add_product(dv, probability, tile_at, kStepBytes);
      wgmma_commit();
      differences();
      wgmma_fence();
      add_product(dk, ds, tile_at, 0);
      wgmma_commit();
      wgmma_wait<0>();
      arrive(&s.empty[stage]);
    }
    settle(dk);
    settle(dv);
    const int64_t pitch = static_cast<int64_t>(p.p.kv_heads) * kDim;
    store_rows(dk, kScale, p.p.dk + tile.head * kDim, pitch, row, p.p.tokens);
    store_rows(dv, 1.0f, p.p.dv + tile.head * kDim, pitch, row, p.p.tokens);
  }
}

__global__ void __launch_bounds__(kPipelineThreads, 1)
    attention_keys_kernel(const __grid_constant__ Problem p, const __grid_constant__ Maps maps) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& s = start(memory);
  wait_for_predecessor();
  take_roles([&] { produce_queries(p, maps, s); }, [&] { consume_queries(p, s); });
}

}  // namespace wf::kernels::attention
