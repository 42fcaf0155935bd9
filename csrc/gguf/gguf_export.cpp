#include "gguf/gguf_export.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/float16.h"
#include "base/simd.h"
#include "base/threads.h"
#include "gguf/float_blocks.h"
#include "gguf/gguf_keys.h"
#include "gguf/gguf_write.h"
#include "gguf/ternary_blocks.h"

namespace wf {
namespace {

constexpr int64_t kChunkElements = 1 << 17;
constexpr int64_t kWaveElements = 1 << 24;  // between two reports of progress

// The type that stores numbers as the folder does, so that their bytes are copied.
bool is_same_type(GgufType type, Dtype dtype) {
  return (type == GgufType::kF32 && dtype == Dtype::kF32) ||
         (type == GgufType::kF16 && dtype == Dtype::kF16) ||
         (type == GgufType::kBF16 && dtype == Dtype::kBF16);
}

WF_LOOP float largest_magnitude(const float* values, std::size_t count) {
  float largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float size = std::fabs(values[i]);
    largest = size > largest ? size : largest;
  }
  return largest;
}

// What one thread needs for a chunk, kept from chunk to chunk.
struct Scratch {
  std::vector<int8_t> codes;
  std::vector<std::byte> stored, encoded;
  std::vector<float> values;
};
Scratch& scratch() {
  static thread_local Scratch mine;
  return mine;
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
      parallel_for((end - begin + chunk - 1) / chunk, [&](int64_t i) {
        const int64_t first = begin + i * chunk;
        action(first, std::min(chunk, end - first));
      });
      progress_("writing", share(writer_.tensors()[index].bytes * uint64_t(end) / uint64_t(rows)));
    }
  }

  // Reorders `rows` rows of `row_size` elements within whole heads, if this tensor asks for it.
  template <class T>
  static void interleave(const PlannedTensor& tensor, int64_t rows, int64_t row_size,
                         std::vector<T>& values) {
    if (tensor.interleaved_head_dim == 0) return;
    const std::vector<T> before(values.begin(), values.begin() + rows * row_size);
    for (int64_t row = 0; row < rows; ++row)
      std::copy_n(before.begin() + tensor.source_row(row) * row_size, row_size,
                  values.begin() + row * row_size);
  }

  void write_codes(std::size_t index, const PlannedTensor& tensor) {
    const GgufType type = tensor.info.type;
    const int64_t rows = tensor.from.rows, columns = tensor.from.columns;
    const uint64_t row_bytes = writer_.tensors()[index].bytes / uint64_t(rows);
    const bool whole = !is_ternary_block_type(type) && !is_float_type(type);
    std::vector<int8_t> matrix(whole ? std::size_t(rows * columns) : 0);
    each_chunk(index, rows, columns, tensor.interleaved_head_dim,
               [&](int64_t first, int64_t count) {
                 auto& [codes, stored, encoded, values] = scratch();
                 codes.resize(std::size_t(count * columns));
                 tensor.matrix->codes(first, count, codes.data());
                 interleave(tensor, count, columns, codes);
                 if (whole) {
                   std::ranges::copy(codes, matrix.begin() + first * columns);
                   return;
                 }
                 encoded.resize(row_bytes * uint64_t(count));
                 encode_codes(type, codes, tensor.stored_scale, values, encoded.data());
                 writer_.write(index, uint64_t(first) * row_bytes, encoded);
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

  // Codes whose +1 the type decodes as `scale`.
  static void encode_codes(GgufType type, std::span<const int8_t> codes, float scale,
                           std::vector<float>& values, std::byte* out) {
    if (!is_ternary_block_type(type)) {
      values.resize(codes.size());
      std::ranges::transform(codes, values.begin(), [&](int8_t code) { return scale * code; });
      return encode_floats(type, values, out);
    }
    const bool times_127 = type == GgufType::kQ8_0 && scale != 1;
    pack_ternary_blocks(type, codes, float_to_half(times_127 ? scale / 127 : scale), out,
                        times_127 ? 127 : 1);
  }

  void write_floats(std::size_t index, const PlannedTensor& tensor) {
    const GgufType type = tensor.info.type;
    const int64_t rows = tensor.rows(), columns = tensor.columns();
    const uint64_t row_bytes = writer_.tensors()[index].bytes / uint64_t(rows);
    each_chunk(index, rows, columns, tensor.interleaved_head_dim,
               [&](int64_t first, int64_t count) {
                 auto& [codes, stored, encoded, values] = scratch();
                 StoredTensor part = tensor.floats.part(first * columns, count * columns);
                 if (!all_finite(part))
                   fail(
                       "{}: tensor '{}' holds values that are not finite: export the "
                       "model again, from a checkpoint before its training went wrong",
                       folder_.path().string(), tensor.from.hf_name);
                 // Bytes that are copied pass through the cache all the same: writing straight from
                 // a mapping takes the system twice as long.
                 const bool same = is_same_type(type, part.dtype);
                 if (same || tensor.interleaved_head_dim) {
                   stored.assign(part.bytes.begin(), part.bytes.end());
                   interleave(tensor, count, int64_t(stored.size()) / count, stored);
                   part.bytes = stored;
                 }
                 if (!same) {
                   values.resize(std::size_t(part.numel()));
                   read_floats(part, values.data());
                   check_range(tensor, values);
                   encoded.resize(row_bytes * uint64_t(count));
                   encode_floats(type, values, encoded.data());
                 }
                 writer_.write(index, uint64_t(first) * row_bytes, same ? stored : encoded);
               });
  }

  void check_range(const PlannedTensor& tensor, std::span<const float> values) const {
    constexpr float kLargestHalf = 65504;
    if (tensor.info.type == GgufType::kF16 &&
        vectorised<largest_magnitude>(values.data(), values.size()) > kLargestHalf)
      fail("{}: tensor '{}' holds values above 65504, which F16 does not have: use bf16 or f32",
           folder_.path().string(), tensor.from.hf_name);
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
