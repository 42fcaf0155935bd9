#include "exporter/gguf_export.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "exporter/float_blocks.h"
#include "exporter/gguf_keys.h"
#include "exporter/ternary_blocks.h"
#include "io/gguf_write.h"

namespace wf {
namespace {

using torch::Tensor;

constexpr int64_t kChunkElements = 1 << 17;
constexpr int64_t kWaveElements = 1 << 24;  // between two reports of progress

std::optional<torch::ScalarType> torch_type(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return torch::kFloat;
    case GgufType::kF16:
      return torch::kHalf;
    case GgufType::kBF16:
      return torch::kBFloat16;
    default:
      return std::nullopt;
  }
}

uint16_t half_bits(float value) { return c10::Half(value).x; }

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

class Export {
 public:
  Export(const GgufPlan& plan, const HfFolder& folder, GgufWriter& writer,
         const ShowProgress& progress)
      : plan_(plan), folder_(folder), writer_(writer), progress_(progress) {}

  void run() {
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      const PlannedTensor& tensor = plan_.tensors[i];
      switch (tensor.content) {
        case PlannedTensor::Content::kCodes:
          write_codes(i, tensor);
          folder_.release(tensor.from.hf_name);
          break;
        case PlannedTensor::Content::kFloats:
          write_floats(i, tensor);
          folder_.release(tensor.from.hf_name);
          break;
        case PlannedTensor::Content::kScale: {
          const float scale = tensor.matrix->scale();
          writer_.write(i, 0, std::as_bytes(std::span(&scale, 1)));
          break;
        }
        case PlannedTensor::Content::kRopeFactors: {
          const auto factors = rope_factors(plan_.config);
          writer_.write(i, 0, std::as_bytes(std::span(factors)));
        }
      }
      done_ += writer_.tensors()[i].bytes;
      progress_("writing", share(0));
    }
  }

 private:
  double share(uint64_t more) const {
    return double(done_ + more) / double(std::max<uint64_t>(writer_.file_bytes(), 1));
  }

  // action(first row, rows) over all rows, in parallel; rows of one head stay together.
  template <class Action>
  void each_chunk(std::size_t index, int64_t rows, int64_t columns, int64_t multiple,
                  const Action& action) {
    const int64_t unit = std::max<int64_t>(multiple, 1);
    const int64_t chunk = std::max<int64_t>(kChunkElements / (columns * unit), 1) * unit;
    const int64_t wave = std::max<int64_t>(kWaveElements / (columns * chunk), 1) * chunk;
    for (int64_t begin = 0; begin < rows; begin += wave) {
      const int64_t end = std::min(rows, begin + wave);
      at::parallel_for(0, (end - begin + chunk - 1) / chunk, 1, [&](int64_t from, int64_t to) {
        const torch::NoGradGuard no_grad;
        for (int64_t i = from; i < to; ++i) {
          const int64_t first = begin + i * chunk;
          action(first, std::min(chunk, end - first));
        }
      });
      progress_("writing", share(writer_.tensors()[index].bytes * uint64_t(end) / uint64_t(rows)));
    }
  }

  // Reorders the rows of whole heads, if this tensor asks for it.
  template <class T>
  static void interleave(const PlannedTensor& tensor, int64_t rows, int64_t columns,
                         std::vector<T>& values) {
    if (tensor.interleaved_head_dim == 0) return;
    const std::vector<T> before(values.begin(), values.begin() + rows * columns);
    for (int64_t row = 0; row < rows; ++row)
      std::copy_n(before.begin() + interleaved_source(row, tensor.interleaved_head_dim) * columns,
                  columns, values.begin() + row * columns);
  }

  void write_codes(std::size_t index, const PlannedTensor& tensor) {
    const GgufType type = tensor.info.type;
    const int64_t rows = tensor.from.rows, columns = tensor.from.columns;
    const uint64_t row_bytes = writer_.tensors()[index].bytes / uint64_t(rows);
    const bool whole = !is_ternary_block_type(type) && !torch_type(type);
    std::vector<int8_t> matrix(whole ? std::size_t(rows * columns) : 0);
    each_chunk(
        index, rows, columns, tensor.interleaved_head_dim, [&](int64_t first, int64_t count) {
          std::vector<int8_t> codes(static_cast<std::size_t>(count * columns));
          tensor.matrix->codes(first, count, codes);
          interleave(tensor, count, columns, codes);
          if (whole)
            std::copy(codes.begin(), codes.end(), matrix.begin() + first * columns);
          else
            writer_.write(index, uint64_t(first) * row_bytes,
                          encoded(type, codes, tensor.stored_scale, row_bytes * uint64_t(count)));
        });
    if (!whole) return;
    const Tiling shape{.rows = rows, .columns = columns};
    KernelConfig kernels = plan_.kernels;
    writer_.write(
        index, 0,
        pack_microsoft(
            type, matrix, tensor.stored_scale,
            type == GgufType::kI2_S ? shape : kernels.tiling(type, rows, columns, false)));
  }

  // Codes whose +1 the type decodes as `scale`. The result is valid until the thread's next call.
  static std::span<const std::byte> encoded(GgufType type, std::span<const int8_t> codes,
                                            float scale, uint64_t bytes) {
    static thread_local std::vector<std::byte> out;
    static thread_local Tensor values;
    if (const auto dtype = torch_type(type)) {
      values =
          at::from_blob(const_cast<int8_t*>(codes.data()), {int64_t(codes.size())}, torch::kChar)
              .to(*dtype)
              .mul_(scale);
      return bytes_of(values);
    }
    out.resize(bytes);
    const bool times_127 = type == GgufType::kQ8_0 && scale != 1;
    pack_ternary_blocks(type, codes, half_bits(times_127 ? scale / 127 : scale), out.data(),
                        times_127 ? 127 : 1);
    return out;
  }

  void write_floats(std::size_t index, const PlannedTensor& tensor) {
    const GgufType type = tensor.info.type;
    const Tensor stored = folder_.tensor(tensor.from.hf_name);
    // A vector of q or k (its bias) is reordered like a matrix of one column.
    const bool vector = tensor.from.kind == TensorKind::kVector;
    const int64_t rows = vector ? tensor.from.columns : tensor.from.rows;
    const int64_t columns = vector ? 1 : tensor.from.columns;
    const uint64_t row_bytes = writer_.tensors()[index].bytes / uint64_t(rows);
    const auto dtype = torch_type(type);
    each_chunk(
        index, rows, columns, tensor.interleaved_head_dim, [&](int64_t first, int64_t count) {
          Tensor part = stored.view(-1).slice(0, first * columns, (first + count) * columns);
          if (tensor.interleaved_head_dim)
            part = part.view({-1, 2, tensor.interleaved_head_dim / 2, columns}).transpose(1, 2);
          if (type == GgufType::kF16 && part.scalar_type() != torch::kHalf &&
              part.abs().max().item<double>() > 65504)
            fail(
                "{}: tensor '{}' holds values above 65504, which F16 does not have: use bf16 or "
                "f32",
                folder_.path().string(), tensor.from.hf_name);
          part = part.to(dtype.value_or(torch::kFloat)).contiguous();
          if (dtype) return writer_.write(index, uint64_t(first) * row_bytes, bytes_of(part));
          std::vector<std::byte> out(row_bytes * uint64_t(count));
          encode_floats(type, {part.const_data_ptr<float>(), std::size_t(part.numel())},
                        out.data());
          writer_.write(index, uint64_t(first) * row_bytes, out);
        });
  }

  const GgufPlan& plan_;
  const HfFolder& folder_;
  GgufWriter& writer_;
  const ShowProgress& progress_;
  uint64_t done_ = 0;
};

}  // namespace

void write_gguf(const GgufPlan& plan, const HfFolder& folder, const std::filesystem::path& path,
                bool sync, const ShowProgress& progress) {
  std::vector<GgufTensor> infos;
  bool tiled = false;
  for (const auto& tensor : plan.tensors) {
    infos.push_back(tensor.info);
    tiled |= tensor.info.type == GgufType::kTL1 || tensor.info.type == GgufType::kTL2;
  }
  GgufWriter writer(path, plan.metadata, std::move(infos));
  Export(plan, folder, writer, progress).run();
  if (tiled) plan.kernels.write(path.parent_path() / kKernelConfigName);
  writer.finish(sync);
}

}  // namespace wf
