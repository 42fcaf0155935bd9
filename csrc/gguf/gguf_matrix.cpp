#include "gguf/gguf_matrix.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "gguf/float_blocks.h"
#include "gguf/ternary_blocks.h"

namespace wf {
namespace {

uint64_t elements(const GgufTensor& tensor) { return tensor.row_elements() * tensor.rows(); }

// Blocks of one matrix share their scale; a block of zeros may store any.
void join_blocks(const GgufTensor& tensor, const std::vector<float>& scales, GgufMatrix& out) {
  const std::size_t block = elements(tensor) / scales.size();
  std::optional<float> scale;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const auto codes = std::span(out.codes).subspan(i * block, block);
    if (std::ranges::all_of(codes, [](int8_t code) { return code == 0; })) continue;
    if (!scale) scale = scales[i];
    if (scales[i] != *scale) {
      out.problem = fmt::format("its blocks have different scales ({} and {})", *scale, scales[i]);
      return;
    }
  }
  const float largest = *std::ranges::max_element(scales);
  out.scale = scale ? *scale : largest > 0 ? largest : 1;
}

void take_floats(const Gguf& file, const GgufTensor& tensor, GgufMatrix& out) {
  const auto values = read_gguf_floats(file, tensor);
  for (std::size_t i = 0; i < values.size(); ++i) {
    out.codes[i] = static_cast<int8_t>((values[i] > 0) - (values[i] < 0));
    const float size = std::abs(values[i]);
    if (size == 0) continue;
    if (out.scale == 0) out.scale = size;
    if (size != out.scale && out.problem.empty())
      out.problem = fmt::format("it holds more magnitudes than one ({} and {})", out.scale, size);
  }
  if (out.scale == 0) out.scale = 1;  // zeros have any
}

}  // namespace

bool is_block_matrix(const GgufTensor& tensor) {
  return tensor.name.starts_with("blk.") && tensor.name.ends_with(".weight") &&
         tensor.ne.size() == 2;
}

GgufMatrix read_gguf_matrix(const Gguf& file, const GgufTensor& tensor, KernelConfig& kernels) {
  GgufMatrix out;
  const auto rows = static_cast<int64_t>(tensor.rows());
  const auto columns = static_cast<int64_t>(tensor.row_elements());
  switch (tensor.type) {
    case GgufType::kI2_S:
    case GgufType::kTL1:
    case GgufType::kTL2: {
      const Tiling tiling = tensor.type == GgufType::kI2_S
                                ? Tiling{.rows = rows, .columns = columns}
                                : kernels.tiling(tensor.type, rows, columns, false);
      auto read = unpack_microsoft(tensor.type, file.bytes(tensor), tiling);
      out.codes = std::move(read.codes);
      out.scale = read.scale;
      if (!read.ternary) out.problem = "it holds codes that are none of −1, 0 and 1";
      break;
    }
    default: {
      out.codes.resize(elements(tensor));
      if (!is_ternary_block_type(tensor.type)) {
        take_floats(file, tensor, out);
        break;
      }
      std::vector<float> scales;
      if (unpack_ternary_blocks(tensor.type, file.bytes(tensor), out.codes, scales))
        join_blocks(tensor, scales, out);
      else
        out.problem = "it holds codes that are none of −1, 0 and 1";
    }
  }
  const std::string scale_name = tensor.name.substr(0, tensor.name.rfind('.')) + ".scale";
  if (const GgufTensor* scale = file.find(scale_name)) {
    if (scale->type != GgufType::kF32 || elements(*scale) != 1)
      fail("{}: tensor '{}' is not one F32 number", file.path().string(), scale_name);
    out.scale *= read_gguf_floats(file, *scale)[0];
  }
  out.zeros = std::ranges::count(out.codes, 0);
  if (out.problem.empty() && !(out.scale > 0 && std::isfinite(out.scale)))
    out.problem = fmt::format("its scale is {}", out.scale);
  return out;
}

std::vector<float> read_gguf_floats(const Gguf& file, const GgufTensor& tensor) {
  std::vector<float> values(elements(tensor));
  if (!decode_floats(tensor.type, file.bytes(tensor), values))
    fail("{}: tensor '{}' is of type {}, which is not decoded here", file.path().string(),
         tensor.name, gguf_type_name(tensor.type));
  return values;
}

KernelConfig kernels_beside(const std::filesystem::path& gguf) {
  const auto path = gguf.parent_path() / kKernelConfigName;
  return std::filesystem::exists(path) ? KernelConfig(path) : KernelConfig();
}

}  // namespace wf
