#include "kernels/ternarize.h"

#include <cmath>
#include <memory>

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

class Ternarize : public Gpu {};

std::vector<int8_t> transposed(const std::vector<int8_t>& in, int rows, int columns) {
  std::vector<int8_t> out(in.size());
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      out[static_cast<size_t>(c) * rows + r] = in[static_cast<size_t>(r) * columns + c];
    }
  }
  return out;
}

TEST_F(Ternarize, ManyMatricesHaveExactScalesAndCodes) {
  struct Matrix {
    int rows, columns;
    float size;
    std::vector<float> weight;
    std::unique_ptr<DeviceArray<float>> device_weight, delta;
    std::unique_ptr<DeviceArray<int8_t>> codes, codes_transposed;
    std::unique_ptr<DeviceArray<uint8_t>> packed;
  };
  std::vector<Matrix> matrices;
  for (auto [rows, columns, size] : {std::tuple{576, 576, 0.02f},
                                     {192, 576, 1.0f},
                                     {16, 16, 3.0f},
                                     {1536, 576, 0.05f},
                                     {576, 1536, 0.01f},
                                     {80, 208, 1e-7f},
                                     {48, 2560, 0.0f},
                                     {1024, 144, 100.0f}}) {
    matrices.push_back({rows, columns, size, {}, {}, {}, {}, {}, {}});
  }
  std::vector<TernaryMatrix> list;
  for (auto& m : matrices) {
    const size_t n = static_cast<size_t>(m.rows) * m.columns;
    m.weight.resize(n);
    for (auto& w : m.weight) w = m.size * normal();
    m.device_weight = std::make_unique<DeviceArray<float>>(m.weight);
    m.delta = std::make_unique<DeviceArray<float>>(1);
    m.codes = std::make_unique<DeviceArray<int8_t>>(n);
    m.codes_transposed = std::make_unique<DeviceArray<int8_t>>(n);
    m.packed = std::make_unique<DeviceArray<uint8_t>>(n / 4);
    const bool extras = m.rows != 192;  // one matrix does without them
    list.push_back(
        {m.device_weight->get(), m.codes->get(), extras ? m.codes_transposed->get() : nullptr,
         extras ? m.packed->get() : nullptr, m.delta->get(), m.rows, m.columns, m.rows, 0, 0});
  }
  const int count = static_cast<int>(list.size());
  const TernarizePlan plan = plan_ternarize(list.data(), count);
  ASSERT_GT(plan.tiles, 0);
  const DeviceArray<TernaryMatrix> device_list(list);
  const DeviceArray<double> sums(plan.chunks);
  check(sum_weights(device_list.get(), count, plan, sums.get(), nullptr));
  check(ternarize(device_list.get(), count, plan, sums.get(), nullptr));
  finish();

  for (const auto& m : matrices) {
    SCOPED_TRACE(std::to_string(m.rows) + " x " + std::to_string(m.columns));
    double sum = 0;
    for (float w : m.weight) sum += std::abs(static_cast<double>(w));
    const float want = std::max(static_cast<float>(sum / m.weight.size()), 1e-5f);
    const float delta = m.delta->read()[0];
    ASSERT_EQ(delta, want);  // fp64 sums of any order agree far below half an fp32 ulp
    const float inverse = 1.0f / delta;
    const auto codes = m.codes->read();
    for (size_t i = 0; i < codes.size(); ++i) {
      const float t = m.weight[i] * inverse;
      ASSERT_EQ(codes[i], std::min(1.0f, std::max(-1.0f, std::nearbyint(t)))) << "element " << i;
    }
    if (m.rows == 192) {
      EXPECT_EQ(m.packed->read(), std::vector<uint8_t>(codes.size() / 4, 0xff));
      continue;
    }
    EXPECT_EQ(m.codes_transposed->read(), transposed(codes, m.rows, m.columns));
    const auto packed = m.packed->read();
    for (size_t i = 0; i < codes.size(); ++i) {
      ASSERT_EQ(packed[i / 4] >> (2 * (i % 4)) & 3, codes[i] + 1) << "element " << i;
    }
  }
}

TEST_F(Ternarize, RefusesShapesOffTheGrid) {
  TernaryMatrix matrix = {};
  matrix.rows = 24;
  matrix.columns = 16;
  EXPECT_EQ(plan_ternarize(&matrix, 1).tiles, 0);
  int8_t codes;
  matrix.codes_transposed = &codes;  // never dereferenced
  matrix.rows = 32;
  for (int pitch : {0, 16, 40}) {
    matrix.transposed_pitch = pitch;
    EXPECT_EQ(plan_ternarize(&matrix, 1).tiles, 0) << "pitch " << pitch;
  }
  matrix.transposed_pitch = 48;
  EXPECT_EQ(plan_ternarize(&matrix, 1).tiles, 1);
}

// The transposes of a fused projection's matrices stand side by side.
TEST_F(Ternarize, TransposesShareAPitch) {
  const int columns = 208, part_rows[] = {80, 16, 144}, pitch = 80 + 16 + 144 + 16;
  const DeviceArray<int8_t> fused(static_cast<size_t>(columns) * pitch);
  std::vector<std::unique_ptr<DeviceArray<float>>> weights, deltas;
  std::vector<std::unique_ptr<DeviceArray<int8_t>>> codes;
  std::vector<TernaryMatrix> list;
  int first = 0;
  for (int rows : part_rows) {
    std::vector<float> values(static_cast<size_t>(rows) * columns);
    for (auto& v : values) v = normal();
    weights.push_back(std::make_unique<DeviceArray<float>>(values));
    deltas.push_back(std::make_unique<DeviceArray<float>>(1));
    codes.push_back(std::make_unique<DeviceArray<int8_t>>(values.size()));
    list.push_back({weights.back()->get(), codes.back()->get(), fused.get() + first, nullptr,
                    deltas.back()->get(), rows, columns, pitch, 0, 0});
    first += rows;
  }
  const TernarizePlan plan = plan_ternarize(list.data(), 3);
  ASSERT_GT(plan.tiles, 0);
  const DeviceArray<TernaryMatrix> device_list(list);
  const DeviceArray<double> sums(plan.chunks);
  check(sum_weights(device_list.get(), 3, plan, sums.get(), nullptr));
  check(ternarize(device_list.get(), 3, plan, sums.get(), nullptr));
  finish();
  const auto got = fused.read();
  first = 0;
  for (int part = 0; part < 3; ++part) {
    const auto expected = codes[part]->read();
    for (int r = 0; r < part_rows[part]; ++r) {
      for (int c = 0; c < columns; ++c) {
        ASSERT_EQ(got[static_cast<size_t>(c) * pitch + first + r],
                  expected[static_cast<size_t>(r) * columns + c])
            << "matrix " << part << " row " << r << " column " << c;
      }
    }
    first += part_rows[part];
  }
  for (int c = 0; c < columns; ++c) {  // the gap behind the last matrix stays as it was
    for (int r = first; r < pitch; ++r) ASSERT_EQ(got[static_cast<size_t>(c) * pitch + r], -1);
  }
}

TEST_F(Ternarize, TransposeMovesEveryCode) {
  for (auto [rows, columns] : {std::pair{16, 16}, {64, 64}, {80, 576}, {2064, 144}, {4096, 960}}) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(columns));
    const auto codes = random_codes(static_cast<size_t>(rows) * columns, 127);
    const DeviceArray<int8_t> in(codes), out(codes.size());
    check(transpose_s8(in.get(), out.get(), rows, columns, nullptr));
    finish();
    EXPECT_EQ(out.read(), transposed(codes, rows, columns));
  }
}

}  // namespace
}  // namespace wf::kernels
