#include "kernels/gemm_s8.h"

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

std::vector<GemmS8Config> bf16_configs(int k) {
  if (k <= 640) return {{256, false}, {192, false}, {192, true, true}};
  return {{256, false}, {192, false}};
}

const std::vector<GemmS8Config> kF32Configs = {{256, false}, {256, true}, {192, false}};

struct Shape {
  int m, n, k;
};

std::string name(Shape s, GemmS8Config c) {
  return "m " + std::to_string(s.m) + " n " + std::to_string(s.n) + " k " + std::to_string(s.k) +
         " tile " + std::to_string(c.tile_n) +
         (c.hold_b      ? " hold b"
          : c.ping_pong ? " ping-pong"
                        : " shared");
}

class GemmS8 : public Gpu {
 protected:
  int dot(const std::vector<int8_t>& a, const std::vector<int8_t>& b, Shape s, int row,
          int column) {
    int sum = 0;
    const int8_t* x = a.data() + static_cast<size_t>(row) * s.k;
    const int8_t* y = b.data() + static_cast<size_t>(column) * s.k;
    for (int i = 0; i < s.k; ++i) sum += x[i] * y[i];
    return sum;
  }

  // All rows of small products, the first, the last and some others of large ones.
  std::vector<int> rows_to_check(Shape s) {
    std::vector<int> rows;
    const double work = static_cast<double>(s.m) * s.n * s.k;
    if (work < 2e8) {
      for (int r = 0; r < s.m; ++r) rows.push_back(r);
    } else {
      const int count = std::max(4, static_cast<int>(2e8 / (static_cast<double>(s.n) * s.k)));
      rows = {0, s.m - 1};
      for (int i = 0; i < count; ++i) rows.push_back(random_() % s.m);
    }
    return rows;
  }

  std::vector<float> random_scales(int size) {
    std::vector<float> scales(size);
    for (auto& v : scales) v = uniform(0.5f, 200.0f);
    return scales;
  }

  void check_bf16(Shape s, bool with_row_scale, std::vector<int> segment_ends) {
    const auto a = random_codes(static_cast<size_t>(s.m) * s.k, 127);
    const auto b = random_codes(static_cast<size_t>(s.n) * s.k, random_() % 2 ? 1 : 127);
    const auto row_scale = random_scales(s.m);
    const auto deltas = random_scales(kMaxColumnSegments);
    const DeviceArray<int8_t> device_a(a), device_b(b);
    const DeviceArray<float> device_row_scale(row_scale), device_deltas(deltas);
    ColumnScales columns;
    for (int end : segment_ends) {
      columns.end[columns.count] = end;
      columns.scale[columns.count] = device_deltas.get() + columns.count;
      ++columns.count;
    }
    const auto rows = rows_to_check(s);
    std::vector<uint16_t> want;
    for (int row : rows) {
      const float factor = with_row_scale ? 1.0f / row_scale[row] : 1.0f;
      for (int column = 0, segment = 0; column < s.n; ++column) {
        if (columns.count > 0 && column >= columns.end[segment]) ++segment;
        const float scale = columns.count > 0 ? deltas[segment] * factor : factor;
        want.push_back(bf16_bits(static_cast<float>(dot(a, b, s, row, column)) * scale));
      }
    }
    for (const auto& config : bf16_configs(s.k)) {
      SCOPED_TRACE(name(s, config));
      const DeviceArray<uint16_t> d(static_cast<size_t>(s.m) * s.n);
      check(gemm_s8_bf16(device_a.get(), device_b.get(),
                         with_row_scale ? device_row_scale.get() : nullptr, columns, as_bf16(d),
                         s.m, s.n, s.k, config, nullptr));
      finish();
      const auto got = d.read();
      size_t wrong = 0, i = 0;
      for (int row : rows) {
        for (int column = 0; column < s.n; ++column) {
          wrong += got[static_cast<size_t>(row) * s.n + column] != want[i++];
        }
      }
      EXPECT_EQ(wrong, 0u) << "of " << want.size();
      size_t unwritten = 0;
      for (uint16_t bits : got) unwritten += bits == 0xffff;
      EXPECT_EQ(unwritten, 0u);
    }
  }

  void check_f32(Shape s, bool with_row_scale) {
    const auto a = random_codes(static_cast<size_t>(s.m) * s.k, 127);
    const auto b = random_codes(static_cast<size_t>(s.n) * s.k, 127);
    const auto row_scale = random_scales(s.m);
    const DeviceArray<int8_t> device_a(a), device_b(b);
    const DeviceArray<float> device_row_scale(row_scale);
    const DeviceArray<uint8_t> workspace(gemm_s8_workspace_bytes());
    const auto rows = rows_to_check(s);
    std::vector<float> want;
    for (int row : rows) {
      for (int column = 0; column < s.n; ++column) {
        const float sum = static_cast<float>(dot(a, b, s, row, column));
        want.push_back(with_row_scale ? sum * (1.0f / row_scale[row]) : sum);
      }
    }
    for (const auto& config : kF32Configs) {
      SCOPED_TRACE(name(s, config));
      const DeviceArray<float> d(static_cast<size_t>(s.m) * s.n);
      check(gemm_s8_f32(device_a.get(), device_b.get(),
                        with_row_scale ? device_row_scale.get() : nullptr, d.get(), s.m, s.n, s.k,
                        workspace.get(), config, nullptr));
      finish();
      const auto got = d.read();
      size_t wrong = 0, i = 0;
      for (int row : rows) {
        for (int column = 0; column < s.n; ++column) {
          wrong += got[static_cast<size_t>(row) * s.n + column] != want[i++];
        }
      }
      EXPECT_EQ(wrong, 0u) << "of " << want.size();
      size_t unwritten = 0;
      for (float v : got) unwritten += v != v;
      EXPECT_EQ(unwritten, 0u);
    }
  }
};

TEST_F(GemmS8, ScaledProductIsExactAtEveryShape) {
  for (Shape s : {Shape{1, 16, 16},
                  {16, 64, 48},
                  {64, 256, 64},
                  {65, 272, 80},
                  {128, 192, 128},
                  {130, 208, 192},
                  {300, 576, 576},
                  {257, 128, 640},
                  {100, 960, 1024},
                  {511, 48, 1536},
                  {40, 512, 4112}}) {
    check_bf16(s, true, {s.n});
  }
}

TEST_F(GemmS8, ColumnSegmentsHaveTheirOwnScale) {
  check_bf16({200, 960, 576}, true, {576, 768, 960});  // q, k, v of one width
  check_bf16({200, 400, 256}, true, {16, 208, 336, 400});
  check_bf16({77, 320, 128}, false, {160, 320});
}

TEST_F(GemmS8, MissingScalesAreOne) { check_bf16({140, 336, 208}, false, {}); }

TEST_F(GemmS8, ManyTilesPerBlockAreExact) {
  check_bf16({9000, 3072, 576}, true, {1536, 3072});
  check_bf16({70000, 208, 48}, true, {208});
  check_bf16({5000, 2560, 1088}, true, {2560});
}

TEST_F(GemmS8, LargestSumsAreExact) {
  const Shape s{128, 256, 8192};
  const DeviceArray<int8_t> a(std::vector<int8_t>(s.m * s.k, 127)),
      b(std::vector<int8_t>(s.n * s.k, -127));
  for (const auto& config : bf16_configs(s.k)) {
    const DeviceArray<uint16_t> d(s.m * s.n);
    check(gemm_s8_bf16(a.get(), b.get(), nullptr, {}, as_bf16(d), s.m, s.n, s.k, config, nullptr));
    finish();
    EXPECT_EQ(d.read(), std::vector<uint16_t>(s.m * s.n, bf16_bits(-127.0f * 127.0f * 8192.0f)));
  }
}

TEST_F(GemmS8, GradientIsExactWhateverTheSplit) {
  for (Shape s : {Shape{16, 16, 16},
                  {64, 192, 2048},
                  {192, 576, 4096},
                  {130, 208, 16400},
                  {128, 64, 65536},
                  {576, 576, 2048},
                  {3072, 576, 4096},
                  {3000, 2576, 1104}}) {
    check_f32(s, true);
  }
}

TEST_F(GemmS8, GradientWithoutScale) { check_f32({960, 576, 8192}, false); }

TEST_F(GemmS8, GradientHasTheSameBitsInEveryRun) {
  const Shape s{960, 576, 16384};
  const DeviceArray<int8_t> a(random_codes(static_cast<size_t>(s.m) * s.k, 127));
  const DeviceArray<int8_t> b(random_codes(static_cast<size_t>(s.n) * s.k, 127));
  const DeviceArray<uint8_t> workspace(gemm_s8_workspace_bytes());
  std::vector<float> first;
  for (int run = 0; run < 20; ++run) {
    const DeviceArray<float> d(static_cast<size_t>(s.m) * s.n);
    check(gemm_s8_f32(a.get(), b.get(), nullptr, d.get(), s.m, s.n, s.k, workspace.get(),
                      gemm_s8_f32_config(s.m, s.n, s.k), nullptr));
    finish();
    if (run == 0) first = d.read();
    ASSERT_EQ(d.read(), first) << "run " << run;
  }
}

TEST_F(GemmS8, TableNamesAConfigurationThatExists) {
  const DeviceArray<int8_t> a(random_codes(1 << 20, 127)), b(random_codes(1 << 20, 127));
  const DeviceArray<uint16_t> d(1 << 20);
  const DeviceArray<float> f(1 << 20);
  const DeviceArray<uint8_t> workspace(gemm_s8_workspace_bytes());
  for (int n : {16, 192, 256, 576, 960, 1024}) {
    for (int k : {64, 576, 1024}) {
      check(gemm_s8_bf16(a.get(), b.get(), nullptr, {}, as_bf16(d), 512, n, k,
                         gemm_s8_bf16_config(512, n, k), nullptr));
      check(gemm_s8_f32(a.get(), b.get(), nullptr, f.get(), 512, n, k, workspace.get(),
                        gemm_s8_f32_config(512, n, k), nullptr));
    }
  }
  finish();
}

TEST_F(GemmS8, RefusesShapesItCannotCompute) {
  const GemmS8Config config = gemm_s8_bf16_config(16, 16, 16);
  const auto run = [&](int m, int n, int k, ColumnScales columns) {
    return gemm_s8_bf16(nullptr, nullptr, nullptr, columns, nullptr, m, n, k, config, nullptr);
  };
  EXPECT_EQ(run(0, 16, 16, {}), cudaErrorInvalidValue);
  EXPECT_EQ(run(16, 24, 16, {}), cudaErrorInvalidValue);
  EXPECT_EQ(run(16, 16, 24, {}), cudaErrorInvalidValue);
  EXPECT_EQ(run(16, 16, 132112, {}), cudaErrorInvalidValue);
  EXPECT_EQ(run(16, 32, 16, {1, {16}, {nullptr}}), cudaErrorInvalidValue);  // ends before n
  EXPECT_EQ(run(16, 32, 16, {2, {8, 32}, {}}), cudaErrorInvalidValue);      // off the grid
  EXPECT_EQ(
      gemm_s8_bf16(nullptr, nullptr, nullptr, {}, nullptr, 16, 16, 656, {192, true, true}, nullptr),
      cudaErrorInvalidValue);  // b is too long to be held
}

}  // namespace
}  // namespace wf::kernels
