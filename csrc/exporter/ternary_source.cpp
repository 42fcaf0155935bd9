#include "exporter/ternary_source.h"

#include <ATen/Parallel.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <atomic>
#include <cmath>

#include "base/error.h"
#include "ops/ternary.h"

namespace wf {

using torch::Tensor;

namespace {

// Elements converted and summed at a time: they stay in a core's cache.
constexpr int64_t kPartElements = 1 << 15;

// Extends `magnitude` (0: none seen yet) by what it sees; false at a second one.
bool has_one_magnitude(std::span<const float> values, float& magnitude) {
  for (const float value : values) {
    const float size = std::abs(value);
    if (size == 0 || size == magnitude) continue;
    if (magnitude != 0) return false;
    magnitude = size;
  }
  return true;
}

}  // namespace

TernarySource::TernarySource(const HfFolder& folder, std::string name, Storage storage,
                             int64_t rows, int64_t columns)
    : name_(std::move(name)),
      where_(fmt::format("{}: tensor '{}'", folder.path().string(), name_)),
      stored_(folder.tensor(name_)),
      rows_(rows),
      columns_(columns) {
  const bool packed = stored_.scalar_type() == torch::kUInt8;
  const std::vector<int64_t> shape = {packed ? rows / 4 : rows, columns};
  if (stored_.sizes() != shape || (packed && rows % 4))
    fail("{} has shape [{}], expected [{}]", where_, fmt::join(stored_.sizes(), ", "),
         fmt::join(shape, ", "));
  if (packed) {
    const std::string scale = name_ + "_scale";
    if (storage == Storage::kLatent)
      fail(
          "{} holds packed codes, and config.json does not say what its scale means: add "
          "\"quantization_config\": {{\"quant_method\": \"bitnet\", \"linear_class\": "
          "\"autobitlinear\"}} where weight_scale is the mean of |W|, \"bitlinear\" where it is "
          "1/mean",
          where_);
    if (!folder.contains(scale)) fail("{} holds packed codes but '{}' is missing", where_, scale);
    const float value = folder.tensor(scale).to(torch::kFloat).item<float>();
    kind_ = Kind::kPacked;
    scale_ = storage == Storage::kPackedMean ? value : 1 / value;
  } else if (stored_.is_floating_point()) {
    measure_latent();
  } else {
    fail("{} is {}, expected floating point or packed codes", where_,
         c10::toString(stored_.scalar_type()));
  }
  if (!std::isfinite(scale_) || scale_ <= 0)
    fail("{} has the scale {}: it holds values that are not finite, or was damaged", where_,
         scale_);
}

Tensor TernarySource::part(int64_t first, int64_t count) const {
  return stored_.view(-1).slice(0, first, first + count).to(torch::kFloat);
}

void TernarySource::measure_latent() {
  const torch::NoGradGuard no_grad;
  const int64_t numel = rows_ * columns_, parts = (numel + kPartElements - 1) / kPartElements;
  const auto part_of = [&](int64_t i) {
    return part(i * kPartElements, std::min(kPartElements, numel - i * kPartElements));
  };
  float magnitude = 0;
  bool one = true;
  for (int64_t i = 0; one && i < parts; ++i) {
    const Tensor values = part_of(i);
    one = has_one_magnitude({values.const_data_ptr<float>(), size_t(values.numel())}, magnitude);
  }
  if (one && magnitude > 0) {
    kind_ = Kind::kTernary;
    scale_ = magnitude;
    return;
  }
  // Summed in the order of the parts, so that the result does not depend on the threads.
  Tensor sums = torch::empty({parts}, torch::kDouble);
  double* sum = sums.mutable_data_ptr<double>();
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    const torch::NoGradGuard none;
    for (int64_t i = begin; i < end; ++i) sum[i] = ops::abs_sum(part_of(i)).item<double>();
  });
  scale_ = ops::absmean_of(sums.sum(), numel, torch::kFloat).item<float>();
}

void TernarySource::codes(int64_t first, int64_t count, std::span<int8_t> out) const {
  const torch::NoGradGuard no_grad;
  if (kind_ == Kind::kPacked) {
    const auto* bytes = stored_.const_data_ptr<uint8_t>();
    const int64_t quarter = rows_ / 4;
    uint8_t unused = 0;
    for (int64_t row = first; row < first + count; ++row) {
      const uint8_t* in = bytes + row % quarter * columns_;
      const int shift = static_cast<int>(2 * (row / quarter));
      int8_t* codes = out.data() + (row - first) * columns_;
      for (int64_t k = 0; k < columns_; ++k) {
        const auto code = static_cast<uint8_t>(in[k] >> shift & 3);
        unused |= code & code >> 1;
        codes[k] = static_cast<int8_t>(code - 1);
      }
    }
    if (unused) fail("{} holds a code that is none of −1, 0 and 1", where_);
    return;
  }
  Tensor values = part(first * columns_, count * columns_);
  values =
      kind_ == Kind::kTernary ? values.sign() : ops::codes_of(values, torch::scalar_tensor(scale_));
  at::from_blob(out.data(), {count * columns_}, torch::kChar).copy_(values);
}

}  // namespace wf
