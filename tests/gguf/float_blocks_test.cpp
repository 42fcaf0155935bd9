// Embeddings' types against ggml's own encoders and decoders.
#include "gguf/float_blocks.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "base/random.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/python.h"

namespace wf {
namespace {

constexpr std::size_t kCount = 1 << 16;

std::vector<float> bell(std::size_t count) {
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - random_uniform(7, i)));
    values.push_back(static_cast<float>(0.05 * radius * std::cos(6.283185 * random_uniform(8, i))));
  }
  std::fill(values.begin() + 512, values.begin() + 768, 0.0F);  // a block of zeros
  return values;
}

// Runs ggml on "x": writes what it encodes to "theirs" and what it decodes from "ours".
constexpr auto kScript = R"(
import ctypes, numpy, pathlib, xllamacpp
(path,) = pathlib.Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
ggml = ctypes.CDLL(str(path))
x = numpy.fromfile("x", numpy.float32)
block, size = {1}, {2}
encode, decode = ggml.quantize_row_{0}_ref, ggml.dequantize_row_{0}
theirs = numpy.empty(x.size // block * size, numpy.uint8)
encode.argtypes = decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
encode.restype = decode.restype = None
encode(x.ctypes.data, theirs.ctypes.data, x.size)
theirs.tofile("theirs")
for name in ("theirs", "ours"):
    raw, y = numpy.fromfile(name, numpy.uint8) if pathlib.Path(name).exists() else theirs, numpy.empty_like(x)
    decode(raw.ctypes.data, y.ctypes.data, y.size)
    y.tofile(name + "_decoded")
)";

std::vector<float> read_floats(const std::filesystem::path& path) {
  const std::string text = read_text(path);
  std::vector<float> values(text.size() / 4);
  std::memcpy(values.data(), text.data(), text.size());
  return values;
}

std::string_view text_of(const auto& list) {
  return {reinterpret_cast<const char*>(list.data()), list.size() * sizeof(list[0])};
}

double rms(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double(a[i] - b[i]) * double(a[i] - b[i]);
  return std::sqrt(sum / double(a.size()));
}

struct Outcome {
  TemporaryFolder scratch;
  std::vector<float> x = bell(kCount);
  std::vector<std::byte> ours;
};

void with_ggml(Outcome& outcome, GgufType type, const char* name, bool encodes) {
  const auto* info = find_gguf_type(static_cast<uint32_t>(type));
  outcome.scratch.write("x", text_of(outcome.x));
  outcome.ours.resize(kCount / info->block_elements * info->block_bytes);
  if (encodes) {
    encode_floats(type, outcome.x, outcome.ours.data());
    outcome.scratch.write("ours", text_of(outcome.ours));
  }
  test::python(fmt::format(fmt::runtime(kScript), name, info->block_elements, info->block_bytes),
               outcome.scratch.path());
}

// Our decoder of ggml's bytes gives ggml's numbers, to the last bit.
void expect_same_decoding(const Outcome& outcome, GgufType type, const char* file) {
  const std::string bytes = read_text(outcome.scratch / file);
  std::vector<float> decoded(kCount);
  ASSERT_TRUE(decode_floats(type, std::as_bytes(std::span(bytes.data(), bytes.size())), decoded));
  EXPECT_EQ(decoded, read_floats(outcome.scratch / (std::string(file) + "_decoded")));
}

TEST(FloatBlocks, Q8IsGgmlsByteForByte) {
  Outcome outcome;
  with_ggml(outcome, GgufType::kQ8_0, "q8_0", true);
  EXPECT_EQ(text_of(outcome.ours), read_text(outcome.scratch / "theirs"));
  expect_same_decoding(outcome, GgufType::kQ8_0, "ours");
}

TEST(FloatBlocks, Q6KLosesNoMoreThanGgmls) {
  Outcome outcome;
  with_ggml(outcome, GgufType::kQ6_K, "q6_K", true);
  const double ours = rms(read_floats(outcome.scratch / "ours_decoded"), outcome.x);
  const double theirs = rms(read_floats(outcome.scratch / "theirs_decoded"), outcome.x);
  EXPECT_LT(ours, 1.01 * theirs);
  EXPECT_LT(ours, 0.02 * 0.05);
  expect_same_decoding(outcome, GgufType::kQ6_K, "ours");
  expect_same_decoding(outcome, GgufType::kQ6_K, "theirs");
}

TEST(FloatBlocks, Q4KDecodesAsInGgml) {
  Outcome outcome;
  with_ggml(outcome, GgufType::kQ4_K, "q4_K", false);
  expect_same_decoding(outcome, GgufType::kQ4_K, "theirs");
}

TEST(FloatBlocks, HalvesRoundToNearestEven) {
  const std::vector<float> values = {1.0F, 0.0123F, 0.0161F, 0.0312F, -0.0F, 1.00048828125F};
  std::vector<uint16_t> half(values.size()), brain(values.size());
  encode_floats(GgufType::kF16, values, std::as_writable_bytes(std::span(half)).data());
  encode_floats(GgufType::kBF16, values, std::as_writable_bytes(std::span(brain)).data());
  EXPECT_EQ(half, (std::vector<uint16_t>{0x3C00, 0x224C, 0x241F, 0x27FD, 0x8000, 0x3C00}));
  EXPECT_EQ(brain[0], 0x3F80);
  std::vector<float> again(values.size());
  ASSERT_TRUE(decode_floats(GgufType::kF16, std::as_bytes(std::span(half)), again));
  EXPECT_NEAR(again[1], 0.01229858, 1e-8);
  EXPECT_FALSE(decode_floats(GgufType::kTQ1_0, std::as_bytes(std::span(half)), again));
}

}  // namespace
}  // namespace wf
