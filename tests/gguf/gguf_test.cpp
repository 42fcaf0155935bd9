// The container: a published file byte for byte, the PyPI package `gguf` as a second reader and
// writer, and everything that the reference reader refuses.
#include "gguf/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "gguf/gguf_write.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

namespace fs = std::filesystem;

constexpr auto kGoldenSha256 = "049faeeb0c7f23ee3a6c542120503c8c86a513c976e7d80b8ef41f7f818d078a";
constexpr auto kTq2Row =
    "8562a9a164588a48680150160668502a99065a525459a04846109148582251819a85105026a12a96158a0590906021"
    "a0"
    "2a9a21485646516191695864299959460038";

std::vector<std::byte> from_hex(std::string_view hex) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

std::span<const std::byte> bytes_of(const float& value) {
  return std::as_bytes(std::span(&value, 1));
}

GgufMetadata golden_metadata() {
  GgufMetadata metadata;
  metadata.set("general.architecture", std::string("bitnet"));
  metadata.set("general.alignment", uint32_t{32});
  metadata.set("x", 0.5F);
  metadata.set("b", true);
  metadata.set("s", GgufArray(std::vector<std::string>{"a", "bc"}));
  metadata.set("i", GgufArray(std::vector<int32_t>{1, -1}));
  return metadata;
}

void write_golden(const fs::path& path) {
  GgufWriter writer(path, golden_metadata(),
                    {{"w.weight", {256, 1}, GgufType::kTQ2_0}, {"w.scale", {1}, GgufType::kF32}});
  const float scale = 0.0123F;
  writer.write(1, 0, bytes_of(scale));
  const auto row = from_hex(kTq2Row);
  writer.write(0, 33, std::span(row).subspan(33));  // in any order, in any pieces
  writer.write(0, 0, std::span(row).first(33));
  writer.finish();
}

TEST(Gguf, WritesTheGoldenFileByteForByte) {
  const TemporaryFolder scratch;
  const fs::path path = scratch / "golden.gguf";
  write_golden(path);
  EXPECT_EQ(fs::file_size(path), 448);
  EXPECT_EQ(sha256_hex_of_file(path), kGoldenSha256);
}

TEST(Gguf, ReadsTheGoldenFile) {
  const TemporaryFolder scratch;
  write_golden(scratch / "golden.gguf");
  const Gguf file(scratch / "golden.gguf");
  EXPECT_EQ(file.version(), 3);
  EXPECT_EQ(file.data_start(), 0x140);
  EXPECT_EQ(file.metadata().pairs(), golden_metadata().pairs());
  ASSERT_EQ(file.tensors().size(), 2);
  const GgufTensor& weight = file.tensor("w.weight");
  EXPECT_EQ(weight.type, GgufType::kTQ2_0);
  EXPECT_EQ(weight.ne, (std::vector<uint64_t>{256, 1}));
  const auto row = from_hex(kTq2Row);
  ASSERT_EQ(file.bytes(weight).size(), row.size());
  EXPECT_EQ(std::memcmp(file.bytes(weight).data(), row.data(), row.size()), 0);
  EXPECT_EQ(file.find("absent"), nullptr);
  test::expect_error([&] { file.tensor("absent"); }, {"golden.gguf", "no tensor 'absent'"});
  test::expect_error([&] { file.metadata().need<uint32_t>("x"); }, {"'x'", "f32", "u32"});
}

TEST(Gguf, TheOutputAppearsOnlyWhenFinished) {
  const TemporaryFolder scratch;
  {
    GgufWriter writer(scratch / "a.gguf", golden_metadata(), {{"w", {1}, GgufType::kF32}});
    EXPECT_FALSE(fs::exists(scratch / "a.gguf"));
  }
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

GgufMetadata every_type() {
  GgufMetadata all;
  all.set("general.architecture", std::string("llama"));
  all.set("general.alignment", uint32_t{64});
  all.set("u8", uint8_t{200});
  all.set("i8", int8_t{-100});
  all.set("u16", uint16_t{60000});
  all.set("i16", int16_t{-30000});
  all.set("u32", uint32_t{4000000000});
  all.set("i32", int32_t{-2000000000});
  all.set("f32", 1.5F);
  all.set("bool", false);
  all.set("string", std::string("γράμμα"));
  all.set("u64", uint64_t{1} << 63);
  all.set("i64", int64_t{-1} << 62);
  all.set("f64", 1e300);
  all.set("bools", GgufArray(std::vector<bool>{true, false, true}));
  all.set("doubles", GgufArray(std::vector<double>{0.1, -2}));
  all.set("none", GgufArray(std::vector<std::string>{}));
  return all;
}

// The PyPI reader understands what we write, and we understand what the PyPI writer writes.
TEST(Gguf, AgreesWithThePythonPackageInBothDirections) {
  const TemporaryFolder scratch;
  {
    GgufWriter writer(scratch / "ours.gguf", every_type(),
                      {{"a", {3, 2}, GgufType::kF32}, {"b", {1}, GgufType::kF32}});
    const std::array<float, 6> values = {0, 1, 2, 3, 4, 5};
    writer.write(0, 0, std::as_bytes(std::span(values)));
    const float seven = 7;
    writer.write(1, 0, bytes_of(seven));
    writer.finish(false);
  }
  const std::string seen = test::python(R"(
import gguf, numpy
r = gguf.GGUFReader("ours.gguf")
for name in ["u8","i8","u16","i16","u32","i32","f32","bool","string","u64","i64","f64","bools","doubles"]:
    print(name, r.fields[name].contents())
print(r.alignment, [(t.name, t.data.tolist()) for t in r.tensors])
w = gguf.GGUFWriter("theirs.gguf", "qwen3")
w.add_uint32("count", 7); w.add_array("words", ["x", "yy"]); w.add_float64("d", 0.25); w.add_bool("t", True)
w.add_tensor("m", numpy.arange(6, dtype=numpy.float16).reshape(2, 3))
w.add_tensor("n", numpy.ones(5, dtype=numpy.float32))
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
)",
                                        scratch.path());
  EXPECT_EQ(seen,
            "u8 200\ni8 -100\nu16 60000\ni16 -30000\nu32 4000000000\ni32 -2000000000\nf32 1.5\n"
            "bool False\nstring γράμμα\nu64 9223372036854775808\ni64 -4611686018427387904\n"
            "f64 1e+300\nbools [True, False, True]\ndoubles [0.1, -2.0]\n"
            "64 [('a', [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]), ('b', [7.0])]\n");
  const Gguf theirs(scratch / "theirs.gguf");
  EXPECT_EQ(theirs.metadata().need<std::string>("general.architecture"), "qwen3");
  EXPECT_EQ(theirs.metadata().need<uint32_t>("count"), 7);
  EXPECT_EQ(std::get<std::vector<std::string>>(theirs.metadata().need<GgufArray>("words")),
            (std::vector<std::string>{"x", "yy"}));
  EXPECT_EQ(theirs.metadata().need<double>("d"), 0.25);
  EXPECT_EQ(theirs.tensor("m").type, GgufType::kF16);
  EXPECT_EQ(theirs.tensor("m").ne, (std::vector<uint64_t>{3, 2}));
  EXPECT_EQ(theirs.bytes(theirs.tensor("n")).size(), 20);
}

// Our table of sizes against the package's.
TEST(Gguf, KnowsTheSizesOfTheTypes) {
  const TemporaryFolder scratch;
  std::string ours;
  for (const auto& type : gguf_types())
    if (type.block_bytes && type.type != GgufType::kQ2_0 && type.name != "Q1_0")  // newer than it
      ours += fmt::format("{} {} {} {}\n", static_cast<uint32_t>(type.type), type.name,
                          type.block_elements, type.block_bytes);
  EXPECT_EQ(ours, test::python(R"(
import gguf
for t, (n, b) in sorted(gguf.GGML_QUANT_SIZES.items()):
    if t.name not in ("Q8_1", "Q8_K", "MXFP4", "NVFP4", "Q1_0", "Q2_0"): print(t.value, t.name, n, b)
)",
                               scratch.path()));
  EXPECT_EQ(gguf_tensor_bytes(GgufType::kI2_S, std::vector<uint64_t>{256, 3}), 256 * 3 / 4 + 32);
  EXPECT_EQ(gguf_tensor_bytes(GgufType::kTL2, std::vector<uint64_t>{576, 64}), 8384 + 32);
}

// A file put together by hand, so that anything can be wrong with it.
struct Bytes {
  std::string text;
  Bytes& u32(uint32_t value) {
    text.append(reinterpret_cast<const char*>(&value), 4);
    return *this;
  }
  Bytes& u64(uint64_t value) {
    text.append(reinterpret_cast<const char*>(&value), 8);
    return *this;
  }
  Bytes& string(std::string_view value) {
    u64(value.size());
    text += value;
    return *this;
  }
  Bytes& header(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
    text += "GGUF";
    return u32(version).u64(tensors).u64(pairs);
  }
  Bytes& info(std::string_view name, std::vector<uint64_t> ne, uint32_t type, uint64_t offset) {
    string(name).u32(uint32_t(ne.size()));
    for (const auto extent : ne) u64(extent);
    return u32(type).u64(offset);
  }
  Bytes& zeros_to(std::size_t size) {
    text.resize(std::max(size, text.size()), '\0');
    return *this;
  }
  Bytes& aligned() { return zeros_to((text.size() + 31) / 32 * 32); }
};

struct Negative {
  const char* name;
  Bytes bytes;
  std::vector<std::string> says;
};
void PrintTo(const Negative& negative, std::ostream* out) { *out << negative.name; }

class GgufRefuses : public testing::TestWithParam<Negative> {};

TEST_P(GgufRefuses, WithOneSentence) {
  const TemporaryFolder scratch;
  const auto path = scratch.write("bad.gguf", GetParam().bytes.text);
  try {
    const Gguf file(path);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("bad.gguf"));
    for (const auto& part : GetParam().says) EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

constexpr uint32_t kF32 = 0, kTq2 = 35;

std::vector<Negative> negatives() {
  const auto file = [] { return Bytes(); };
  std::vector<Negative> all;
  all.push_back({"empty", file(), {"ends inside the header"}});
  all.push_back({"magic", {"GGML" + std::string(40, '\0')}, {"no GGUF file"}});
  all.push_back({"version_1", file().header(0, 0, 1), {"version 1"}});
  all.push_back({"version_4", file().header(0, 0, 4), {"version 4"}});
  all.push_back({"big_endian", file().header(0, 0, 0x03000000), {"big-endian"}});
  all.push_back({"too_many_pairs", file().header(0, uint64_t{1} << 60), {"metadata entries"}});
  all.push_back({"too_many_tensors", file().header(uint64_t{1} << 60, 0), {"tensors, more than"}});
  all.push_back({"empty_key", file().header(0, 1).string("").u32(4).u32(1), {"key is empty"}});
  all.push_back({"key_twice",
                 file().header(0, 2).string("k").u32(4).u32(1).string("k").u32(4).u32(1),
                 {"'k' twice"}});
  all.push_back(
      {"value_type", file().header(0, 1).string("k").u32(13).u64(0), {"unknown type 13"}});
  all.push_back({"array_type",
                 file().header(0, 1).string("k").u32(9).u32(77).u64(0),
                 {"array of the unknown type 77"}});
  all.push_back(
      {"nested_array", file().header(0, 1).string("k").u32(9).u32(9).u64(0), {"array of arrays"}});
  all.push_back({"huge_string",
                 file().header(0, 1).string("k").u32(8).u64(uint64_t{1} << 40),
                 {"above the limit of 1 GiB"}});
  all.push_back(
      {"cut_string", file().header(0, 1).string("k").u32(8).u64(100), {"copied in full"}});
  all.push_back({"huge_array",
                 file().header(0, 1).string("k").u32(9).u32(4).u64(uint64_t{1} << 31),
                 {"above the limit of 2^30"}});
  all.push_back({"long_array",
                 file().header(0, 1).string("k").u32(9).u32(8).u64(1 << 29),
                 {"more than the file has bytes for"}});
  Bytes bad_bool = file().header(0, 1).string("k").u32(7);
  bad_bool.text += std::string("\x02\0\0\0", 4);
  all.push_back({"bool_of_two", bad_bool, {"bool with the value 2"}});
  const auto alignment = [&](uint32_t type, uint32_t value) {
    return file().header(0, 1).string("general.alignment").u32(type).u32(value);
  };
  all.push_back({"alignment_48", alignment(4, 48), {"general.alignment is 48", "power of two"}});
  all.push_back({"alignment_0", alignment(4, 0), {"general.alignment is 0"}});
  all.push_back({"alignment_i32", alignment(5, 32), {"'general.alignment'", "i32", "u32"}});
  const auto one = [&](std::string_view name, std::vector<uint64_t> ne, uint32_t type,
                       uint64_t offset) {
    return file().header(1, 0).info(name, ne, type, offset).aligned().zeros_to(4096);
  };
  all.push_back({"long_name", one(std::string(64, 'n'), {1}, kF32, 0), {"64 bytes"}});
  all.push_back({"no_dimensions", one("w", {}, kF32, 0), {"0 dimensions"}});
  all.push_back({"five_dimensions", one("w", {1, 1, 1, 1, 1}, kF32, 0), {"5 dimensions"}});
  all.push_back({"extent_0", one("w", {4, 0}, kF32, 0), {"extent of 0"}});
  all.push_back({"removed_type", one("w", {4}, 4, 0), {"type 4"}});
  all.push_back({"unknown_type", one("w", {4}, 1000, 0), {"type 1000"}});
  all.push_back({"ragged_row", one("w", {255, 2}, kTq2, 0), {"rows of 255", "256", "TQ2_0"}});
  all.push_back(
      {"overflow", one("w", {uint64_t{1} << 40, uint64_t{1} << 40}, kF32, 0), {"has no size for"}});
  all.push_back({"offset", one("w", {4}, kF32, 32), {"begins at byte 32", "expected 0"}});
  const auto two = [&](std::string_view second, uint64_t offset, std::size_t size) {
    return file()
        .header(2, 0)
        .info("a", {3}, kF32, 0)
        .info(second, {3}, kF32, offset)
        .aligned()
        .zeros_to(size);
  };
  const std::size_t data = two("b", 32, 0).text.size();
  all.push_back({"tensor_twice", two("a", 32, data + 64), {"tensor 'a' twice"}});
  all.push_back({"gap", two("b", 64, data + 128), {"'b' begins at byte 64", "expected 32"}});
  all.push_back({"overlap", two("b", 12, data + 64), {"'b' begins at byte 12", "expected 32"}});
  all.push_back({"cut_data", two("b", 32, data + 40), {"copied in full"}});
  all.push_back({"no_tail_padding", two("b", 32, data + 32 + 12), {"copied in full"}});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Container, GgufRefuses, testing::ValuesIn(negatives()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Gguf, ReadsAHandMadeFileOfVersion2) {
  const TemporaryFolder scratch;
  Bytes bytes;
  bytes.header(1, 0, 2).info("w", {3}, kF32, 0).aligned();
  bytes.zeros_to(bytes.text.size() + 32);
  EXPECT_EQ(Gguf(scratch.write("v2.gguf", bytes.text)).tensor("w").bytes, 12);
}

// Whatever a file is cut to, it is refused and nothing else happens.
TEST(Gguf, RefusesEveryTruncation) {
  const TemporaryFolder scratch;
  write_golden(scratch / "golden.gguf");
  const std::string whole = read_text(scratch / "golden.gguf");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(Gguf(scratch.write("cut.gguf", whole.substr(0, size))), Error) << size;
}

TEST(GgufWriter, RefusesWhatNoReaderAccepts) {
  const TemporaryFolder scratch;
  const auto write = [&](std::vector<GgufTensor> tensors) {
    GgufWriter(scratch / "bad.gguf", golden_metadata(), std::move(tensors));
  };
  test::expect_error([&] { write({{"w", {255}, GgufType::kTQ1_0}}); }, {"'w'", "TQ1_0"});
  test::expect_error([&] { write({{"w", {1}}, {"w", {1}}}); }, {"'w'", "twice"});
  test::expect_error([&] { write({{std::string(64, 'n'), {1}}}); }, {"longer than 63"});
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

}  // namespace
}  // namespace wf
