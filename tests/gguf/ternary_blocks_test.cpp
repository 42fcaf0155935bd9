// The ternary layouts against published vectors, both ways; against ggml's own decoders; and over a
// million random codes.
#include "gguf/ternary_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/random.h"
#include "gguf/microsoft_layouts.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

// The vectors' codes: t = ((state >> 16) mod 3) − 1 of a linear congruential generator.
std::vector<int8_t> vector_codes(std::size_t count) {
  std::vector<int8_t> codes;
  uint32_t state = 1;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    codes.push_back(static_cast<int8_t>((state >> 16) % 3 - 1));
  }
  return codes;
}

std::vector<int8_t> random_codes(std::size_t count) {
  std::vector<int8_t> codes;
  for (std::size_t i = 0; i < count; ++i)
    codes.push_back(static_cast<int8_t>(random_bits(5, i) % 3 - 1));
  return codes;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

struct Vector {
  GgufType type;
  std::size_t elements;
  uint16_t d;  // s = 0.5
  const char* bytes;
};
void PrintTo(const Vector& vector, std::ostream* out) { *out << gguf_type_name(vector.type); }

constexpr std::array kVectors = {
    Vector{
        GgufType::kTQ1_0, 256, 0x3800,
        "7bc2a86f3547ec3f51580ed1c8500ef7a1caf2b82c9d1b3ecc0b663d47bf645ef69410448832c16862ec922f4b"
        "51503230d72a7f0038"},
    Vector{GgufType::kTQ2_0, 256, 0x3800,
           "8562a9a164588a48680150160668502a99065a525459a04846109148582251819a85105026a12a96158a059"
           "0906"
           "021a02a9a21485646516191695864299959460038"},
    Vector{GgufType::kQ2_0, 64, 0x3800, "003859208482a904125821a9428926898102"},
    Vector{GgufType::kQ8_0, 32, 0x1C08,
           "081c007f000081817f818100817f7f81817f007f7f7f810081817f810081817f0000"},
};

class TernaryBlocks : public testing::TestWithParam<Vector> {};

TEST_P(TernaryBlocks, EqualThePublishedVectorsBothWays) {
  const auto [type, elements, d, expected] = GetParam();
  const auto codes = vector_codes(elements);
  const std::array<uint64_t, 1> ne = {elements};
  std::vector<std::byte> bytes(*gguf_tensor_bytes(type, ne));
  pack_ternary_blocks(type, codes, d, bytes.data());
  EXPECT_EQ(hex(bytes), expected);
  std::vector<int8_t> again(elements, 9);
  std::vector<float> scales;
  EXPECT_TRUE(unpack_ternary_blocks(type, bytes, again, scales));
  EXPECT_EQ(again, codes);
  ASSERT_EQ(scales.size(), 1);
  EXPECT_NEAR(scales[0], 0.5, type == GgufType::kQ8_0 ? 2.5e-4 : 0);
}

TEST_P(TernaryBlocks, GiveAMillionRandomCodesBack) {
  const auto codes = random_codes(1 << 20);
  const GgufType type = GetParam().type;
  const std::array<uint64_t, 1> ne = {codes.size()};
  std::vector<std::byte> bytes(*gguf_tensor_bytes(type, ne));
  for (const int8_t magnitude : {int8_t{127}, int8_t{1}}) {
    pack_ternary_blocks(type, codes, kHalfOne, bytes.data(), magnitude);
    std::vector<int8_t> again(codes.size(), 9);
    std::vector<float> scales;
    EXPECT_TRUE(unpack_ternary_blocks(type, bytes, again, scales));
    EXPECT_EQ(again, codes);
    const float expected = type == GgufType::kQ8_0 ? magnitude : 1;
    EXPECT_EQ(scales, std::vector<float>(scales.size(), expected));
  }
}

// ggml's own decoder reads the same numbers.
TEST_P(TernaryBlocks, DecodeInGgmlToTheSameNumbers) {
  const TemporaryFolder scratch;
  const GgufType type = GetParam().type;
  const auto codes = random_codes(1 << 16);
  const std::array<uint64_t, 1> ne = {codes.size()};
  std::vector<std::byte> bytes(*gguf_tensor_bytes(type, ne));
  pack_ternary_blocks(type, codes, 0x3800, bytes.data(), 1);
  scratch.write("blocks", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  test::python(fmt::format(R"(
import ctypes, numpy, pathlib, xllamacpp
(path,) = pathlib.Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
decode = ctypes.CDLL(str(path)).dequantize_row_{}
decode.argtypes, decode.restype = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64], None
y = numpy.empty({}, numpy.float32)
decode(open("blocks", "rb").read(), y.ctypes.data, y.size)
(y * 2).astype(numpy.int8).tofile("codes")
assert set(numpy.unique(y)) == {{-0.5, 0, 0.5}}
)",
                           type == GgufType::kTQ1_0   ? "tq1_0"
                           : type == GgufType::kTQ2_0 ? "tq2_0"
                           : type == GgufType::kQ2_0  ? "q2_0"
                                                      : "q8_0",
                           codes.size()),
               scratch.path());
  const std::string seen = read_text(scratch / "codes");
  EXPECT_EQ(std::vector<int8_t>(seen.begin(), seen.end()), codes);
}

INSTANTIATE_TEST_SUITE_P(Types, TernaryBlocks, testing::ValuesIn(kVectors), [](const auto& info) {
  return std::string(gguf_type_name(info.param.type));
});

TEST(TernaryBlocksUnpack, RefusesWhatIsNotTernary) {
  std::vector<float> scales;
  std::vector<int8_t> codes(256);
  std::vector<std::byte> all_three(66, std::byte{0xFF});
  EXPECT_FALSE(unpack_ternary_blocks(GgufType::kTQ2_0, all_three, codes, scales));
  codes.resize(64);
  EXPECT_FALSE(
      unpack_ternary_blocks(GgufType::kQ2_0, std::span(all_three).first(18), codes, scales));
  codes.resize(32);
  std::vector<std::byte> many(34, std::byte{5});
  EXPECT_TRUE(unpack_ternary_blocks(GgufType::kQ8_0, many, codes, scales));
  many[7] = std::byte{4};
  EXPECT_FALSE(unpack_ternary_blocks(GgufType::kQ8_0, many, codes, scales));
}

constexpr auto kI2s = "52896a4a1925a22129400594902905a86690a58515650a219104462125884542";

TEST(MicrosoftLayouts, I2sEqualsThePublishedVectorBothWays) {
  const auto codes = vector_codes(128);
  const Tiling shape{.rows = 1, .columns = 128};
  const auto bytes = pack_microsoft(GgufType::kI2_S, codes, 0.5F, shape);
  EXPECT_EQ(hex(bytes), kI2s + ("0000003f" + std::string(56, '0')));
  const auto again = unpack_microsoft(GgufType::kI2_S, bytes, shape);
  EXPECT_EQ(again.codes, codes);
  EXPECT_EQ(again.scale, 0.5F);
}

struct LookupCase {
  GgufType type;
  Tiling tiling;
  std::size_t code_bytes;
  const char* sha256;
};

TEST(MicrosoftLayouts, LookupTypesEqualThePublishedHashesBothWays) {
  for (const auto& [type, tiling, code_bytes, sha256] : {
           LookupCase{GgufType::kTL1,
                      {128, 256, 64, 64, 32},
                      8192,
                      "98b3f12fa369ee51fafe941ba626760777ab72d564d2661363511d1d28625b7b"},
           LookupCase{GgufType::kTL2,
                      {64, 576, 64, 192, 32},
                      8362,
                      "28fd6435b5a5892b864c5b9d4a952fed7a57c261164db436e0dfb12ff80cb2e1"},
           LookupCase{GgufType::kTL2,
                      {64, 640, 64, 192, 32},
                      9216,
                      "bbd059761548ce3cf70e2c699ec75c8df4831ebb0be5d16add5e21c8f9576f2d"},
       }) {
    const auto codes = vector_codes(static_cast<std::size_t>(tiling.rows * tiling.columns));
    const auto bytes = pack_microsoft(type, codes, 0.25F, tiling);
    EXPECT_EQ(sha256_hex(std::span(bytes).first(code_bytes)), sha256);
    const auto again = unpack_microsoft(type, bytes, tiling);
    EXPECT_EQ(again.codes, codes);
    EXPECT_EQ(again.scale, 0.25F);
    EXPECT_TRUE(again.ternary);
  }
  EXPECT_EQ(hex(pack_microsoft(GgufType::kTL1, vector_codes(128 * 256), 1, {128, 256, 64, 64, 32}))
                .substr(0, 64),
            "5466027683555635857573722637477806257174337762208024738615342428");
}

TEST(MicrosoftLayouts, GiveAMillionRandomCodesBackInEveryTiling) {
  const auto codes = random_codes(1536 * 768);
  const auto check = [&](GgufType type, Tiling tiling) {
    const std::size_t elements = static_cast<std::size_t>(tiling.rows * tiling.columns);
    const auto some = std::span(codes).first(elements);
    const auto again = unpack_microsoft(type, pack_microsoft(type, some, 0.1F, tiling), tiling);
    EXPECT_TRUE(std::ranges::equal(again.codes, some));
    EXPECT_EQ(again.scale, 0.1F);
  };
  check(GgufType::kI2_S, {.rows = 1536, .columns = 768});
  for (const int64_t bmm : {32, 64}) check(GgufType::kTL1, {1536, 768, 128, 64, bmm});
  for (const int64_t bk : {96, 192}) check(GgufType::kTL2, {1536, 768, 96, bk, 32});
  check(GgufType::kTL2, {1536 * 768 / 832 / 32 * 32, 832, 32, 96, 32});
}

TEST(MicrosoftLayouts, RefuseShapesThatCannotBeTiled) {
  EXPECT_EQ(choose_tiling(GgufType::kTL1, 576, 1536), (Tiling{576, 1536, 96, 256, 32}));
  test::expect_error([] { choose_tiling(GgufType::kTL1, 100, 1536); }, {"100 rows", "i2_s"});
  test::expect_error([] { choose_tiling(GgufType::kTL2, 256, 256); }, {"more than 256 columns"});
  EXPECT_TRUE(tiling_problem(GgufType::kTL2, {64, 600, 64, 192, 32}).has_value());
}

}  // namespace
}  // namespace wf
