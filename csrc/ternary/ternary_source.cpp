#include "ternary/ternary_source.h"

#include <fmt/ranges.h>

#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "ternary/absmean.h"
#include "ternary/packed_codes.h"

namespace wf {

TernarySource::TernarySource(const HfFolder& folder, std::string name, Storage storage,
                             int64_t rows, int64_t columns)
    : name_(std::move(name)),
      where_(fmt::format("{}: tensor '{}'", folder.path().string(), name_)),
      stored_(folder.tensor(name_)),
      rows_(rows),
      columns_(columns) {
  const bool packed = stored_.dtype == Dtype::kU8;
  const std::vector<int64_t> shape = {packed ? rows / 4 : rows, columns};
  if (stored_.shape != shape || (packed && rows % 4))
    fail("{} has shape [{}], expected [{}]", where_, fmt::join(stored_.shape, ", "),
         fmt::join(shape, ", "));
  if (packed) {
    if (storage == Storage::kLatent)
      fail(
          "{} holds packed codes, and config.json does not say what its scale means: add "
          "\"quantization_config\": {{\"quant_method\": \"bitnet\", \"linear_class\": "
          "\"autobitlinear\"}} where weight_scale is the mean of |W|, \"bitlinear\" where it is "
          "1/mean",
          where_);
    kind_ = Kind::kPacked;
    scale_ = packed_scale(folder, name_, storage);
  } else if (is_floating_point(stored_.dtype)) {
    measure();
  } else {
    fail("{} is {}, expected floating point or packed codes", where_, dtype_name(stored_.dtype));
  }
  if (!std::isfinite(scale_) || scale_ <= 0)
    fail("{} has the scale {}: it holds values that are not finite, or was damaged", where_,
         scale_);
}

void TernarySource::measure() {
  if (stored_.dtype == Dtype::kF64) {
    std::vector<float> values(std::size_t(stored_.numel()));
    read_floats(stored_, values.data());
    stored_ = in_memory(Dtype::kF32, stored_.shape, std::move(values));
  }
  scale_ = only_magnitude(stored_);
  if (scale_ > 0)
    kind_ = Kind::kTernary;
  else
    scale_ = absmean_of(abs_sum(stored_, parallel_for), stored_.numel());
}

void TernarySource::codes(int64_t first, int64_t count, int8_t* out) const {
  if (kind_ == Kind::kPacked) {
    if (!unpack_codes(stored_.as<uint8_t>(), rows_, columns_, first, count, out))
      fail("{} holds a code that is none of −1, 0 and 1", where_);
    return;
  }
  const StoredTensor part = stored_.part(first * columns_, count * columns_);
  if (kind_ == Kind::kTernary)
    sign_codes(part, out);
  else
    ternary_codes(part, scale_, out);
}

}  // namespace wf
