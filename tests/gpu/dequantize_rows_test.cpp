#include "kernels/dequantize_rows.h"

#include <cmath>

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

class DequantizeRows : public Gpu {};

TEST_F(DequantizeRows, QuotientsAreThoseOfADivision) {
  for (int width : {16, 80, 576, 2560, 6912}) {
    for (int rows : {1, 7, 1300}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(width));
      auto codes = random_codes(static_cast<size_t>(rows) * width, 127);
      codes[0] = -128;
      std::vector<float> scale(rows);  // from those of huge rows to that of a row of zeros
      for (auto& s : scale) s = 127.0f / std::max(1e-5f, std::exp(uniform(-15.0f, 40.0f)));
      scale[0] = 127.0f / 1e-5f;
      const DeviceArray<int8_t> device_codes(codes);
      const DeviceArray<float> device_scale(scale);
      const DeviceArray<uint16_t> out(codes.size()), plain(codes.size());
      check(dequantize_rows(device_codes.get(), device_scale.get(), as_bf16(out), rows, width,
                            nullptr));
      check(dequantize_rows(device_codes.get(), nullptr, as_bf16(plain), rows, width, nullptr));
      finish();
      const auto got = out.read(), got_plain = plain.read();
      for (size_t i = 0; i < codes.size(); ++i) {
        ASSERT_EQ(got[i], bf16_bits(static_cast<float>(codes[i]) / scale[i / width])) << i;
        ASSERT_EQ(from_bf16_bits(got_plain[i]), codes[i]) << i;
      }
    }
  }
}

TEST_F(DequantizeRows, RefusesOtherShapes) {
  for (auto [rows, width] : {std::pair{0, 16}, {4, 24}, {4, 0}, {1 << 20, 1 << 20}}) {
    EXPECT_EQ(dequantize_rows(nullptr, nullptr, nullptr, rows, width, nullptr),
              cudaErrorInvalidValue);
  }
}

}  // namespace
}  // namespace wf::kernels
