#include "formats/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <torch/torch.h>

#include <fstream>

#include "io/tensor_file.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

using test::expect_error;
using test::python;

// One tensor of every type, with the values 0, 1, 2, ... (booleans: their parity), and awkward
// names and shapes. Python's list of the same is kPythonTensors.
std::vector<NamedTensor> every_type() {
  std::vector<NamedTensor> tensors;
  for (const auto dtype :
       {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
        torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8})
    tensors.push_back({std::string("type.") + torch::toString(dtype),
                       torch::arange(15, torch::kInt64).reshape({3, 5}).to(dtype)});
  tensors.push_back({"type.Bool", (torch::arange(3, torch::kInt64) % 2).to(torch::kBool)});
  tensors.push_back({"scalar", torch::tensor(0.1)});
  tensors.push_back({"empty", torch::zeros({0, 3})});
  tensors.push_back({"quote\" \n \xc3\xbc", torch::tensor({-0.0f, 1e-45f, INFINITY})});
  return tensors;
}

constexpr auto kPythonTensors = R"(
import torch
from safetensors.torch import save_file, load_file
tensors = {f'type.{name}': torch.arange(15).reshape(3, 5).to(dtype) for name, dtype in dict(
    Double=torch.float64, Float=torch.float32, Half=torch.float16, BFloat16=torch.bfloat16,
    Long=torch.int64, Int=torch.int32, Short=torch.int16, Char=torch.int8, Byte=torch.uint8).items()}
tensors['type.Bool'] = torch.tensor([False, True, False])
tensors['scalar'] = torch.tensor(0.1)
tensors['empty'] = torch.zeros(0, 3)
tensors['quote" \n \u00fc'] = torch.tensor([-0.0, 1e-45, float('inf')])
)";

// A file with this header text and that many bytes of data, whatever sense they make.
std::filesystem::path write_raw(const TemporaryFolder& folder, const std::string& header,
                                std::size_t data_bytes, uint64_t claimed_header_bytes) {
  const auto path = folder / "raw.safetensors";
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&claimed_header_bytes), 8);
  out << header << std::string(data_bytes, '\1');
  return path;
}

void expect_refused(const std::string& header, std::size_t data_bytes,
                    const std::initializer_list<std::string>& parts) {
  const TemporaryFolder folder;
  const auto path = write_raw(folder, header, data_bytes, header.size());
  expect_error([&] { Safetensors file(path); }, parts);
  expect_error([&] { Safetensors file(path); }, {"raw.safetensors: "});
}

TEST(Safetensors, WritesTheBytesOfThePythonPackage) {
  const TemporaryFolder folder;
  python(std::string(kPythonTensors) + "save_file(tensors, 'theirs', metadata={'format': 'pt'})",
         folder.path());
  write_safetensors(folder / "ours", every_type());
  EXPECT_EQ(read_text(folder / "ours"), read_text(folder / "theirs"));
}

TEST(Safetensors, IsReadByThePythonPackage) {
  const TemporaryFolder folder;
  write_safetensors(folder / "ours", every_type());
  const auto said = python(std::string(kPythonTensors) + R"(
read = load_file('ours')
assert read.keys() == tensors.keys()
for name in tensors:
    assert read[name].dtype == tensors[name].dtype and torch.equal(read[name], tensors[name]), name
print(len(read)))",
                           folder.path());
  EXPECT_EQ(said, "13\n");
}

TEST(Safetensors, ReadsWhatThePythonPackageWrites) {
  const TemporaryFolder folder;
  python(std::string(kPythonTensors) + "save_file(tensors, 'theirs', metadata={'a': 'b', 'c': ''})",
         folder.path());
  const Safetensors file(folder / "theirs");
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"a", "b"}, {"c", ""}}));
  const auto expected = every_type();
  EXPECT_EQ(file.names().size(), expected.size());
  for (const auto& [name, value] : expected) {
    EXPECT_EQ(as_torch(file.tensor(name)).scalar_type(), value.scalar_type()) << name;
    EXPECT_TRUE(torch::equal(as_torch(file.tensor(name)), value)) << name;
  }
}

TEST(Safetensors, HandsOutViewsThatOutliveTheFileObject) {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {{"a", torch::ones({4, 4})}, {"b", torch::full({3}, 7.0)}});
  torch::Tensor a, b;
  {
    const Safetensors file(folder / "f");
    a = as_torch(file.tensor("a"));
    b = as_torch(file.tensor("b"));
    EXPECT_EQ(as_torch(file.tensor("a")).data_ptr(), a.data_ptr()) << "a copy was made";
  }
  std::filesystem::remove(folder / "f");
  EXPECT_EQ(a.sum().item<double>(), 16);
  EXPECT_EQ(b.sum().item<double>(), 21);
}

TEST(Safetensors, SavesNonContiguousAndTrainedTensors) {
  const TemporaryFolder folder;
  const auto weight = torch::arange(6.0).reshape({2, 3}).requires_grad_();
  write_safetensors(folder / "f", {{"w", weight.t()}, {"row", weight[1]}});
  const Safetensors file(folder / "f");
  EXPECT_TRUE(torch::equal(as_torch(file.tensor("w")), weight.detach().t()));
  EXPECT_TRUE(torch::equal(as_torch(file.tensor("row")), weight.detach()[1]));
}

TEST(Safetensors, CopiesTensorsThatLieUnaligned) {
  const TemporaryFolder folder;
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"I32","shape":[2],"data_offsets":[1,9]}} )";
  const Safetensors file(write_raw(folder, header, 9, header.size()));
  EXPECT_TRUE(
      torch::equal(as_torch(file.tensor("b")), torch::full({2}, 0x01010101, torch::kInt32)));
}

// Eight tensors of 32 MiB that each need a copy to become contiguous.
TEST(Safetensors, WritesWithOneTensorCopiedAtATime) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer holds freed memory back";
#endif
  const auto peak_mib = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss / 1024;
  };
  const TemporaryFolder folder;
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < 8; ++i) tensors.push_back({std::to_string(i), torch::ones({4096, 2048}).t()});
  const auto before = peak_mib();
  write_safetensors(folder / "f", tensors);
  EXPECT_LE(peak_mib() - before, 64 + 16);
}

TEST(Safetensors, NamesAMissingTensor) {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {{"a", torch::ones(1)}});
  expect_error([&] { Safetensors(folder / "f").tensor("b"); }, {"/f: has no tensor 'b'"});
}

TEST(Safetensors, RefusesToWriteANameTwice) {
  const TemporaryFolder folder;
  expect_error(
      [&] { write_safetensors(folder / "f", {{"a", torch::ones(1)}, {"a", torch::ones(2)}}); },
      {"two tensors are named 'a'"});
}

TEST(Safetensors, SaysWhenTheDiskIsFull) {
  expect_error([] { write_safetensors("/dev/full", {{"a", torch::ones(100)}}); },
               {"/dev/full: cannot write", "No space left"});
}

TEST(Safetensors, RefusesAFileCutAnywhere) {
  const TemporaryFolder folder;
  write_safetensors(folder / "whole", {{"a", torch::ones(3)}, {"b", torch::ones(2, torch::kInt8)}});
  const std::string whole = read_text(folder / "whole");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(folder / "cut", std::ios::binary) << whole.substr(0, size);
    expect_error([&] { Safetensors file(folder / "cut"); }, {"/cut: "});
  }
}

TEST(Safetensors, RefusesAHeaderLengthBeyondTheFileOrTheLimit) {
  const TemporaryFolder folder;
  for (const uint64_t claim : {uint64_t{3}, uint64_t{100}, Safetensors::kMaxHeaderBytes,
                               Safetensors::kMaxHeaderBytes + 1, UINT64_MAX, UINT64_MAX - 7}) {
    const auto path = write_raw(folder, "{}", 0, claim);
    expect_error([&] { Safetensors file(path); }, {"claims a header of"});
  }
}

TEST(Safetensors, RefusesHeadersThatAreNotOne) {
  expect_refused("", 0, {"not valid JSON"});
  expect_refused("{", 0, {"not valid JSON"});
  expect_refused("[]", 0, {"not a JSON object"});
  expect_refused("7", 0, {"not a JSON object"});
  expect_refused(R"({"a":7})", 0, {"bare value"});
  expect_refused(R"({"a":[]})", 0, {"tensor 'a' is not described by a JSON object"});
  expect_refused("{\"\xff\":{}}", 0, {"not valid JSON"});
  expect_refused(R"({"__metadata__":{"k":1}})", 0, {"metadata 'k' is not a text"});
  expect_refused(R"({"a":{"shape":[[[1]]]}})", 0, {"nested deeper"});
  expect_refused(R"({"a":)" + std::string(1'000'000, '['), 0, {"nested deeper"});
}

TEST(Safetensors, RefusesDescriptionsThatMakeNoSense) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[1]}})", 4, {"'a'", "'data_offsets' is missing"});
  expect_refused(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, {"'a'", "'dtype' is missing"});
  expect_refused(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, {"'a'", "'shape' is missing"});
  expect_refused(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}})", 4, {"dtype \"F7\""});
  expect_refused(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, {"dtype 7"});
  expect_refused(R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, {"not a list"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, {"whole number"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4,
                 {"whole number"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})", 4,
                 {"whole number"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, {"[begin, end]"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, {"[begin, end]"});
}

TEST(Safetensors, RefusesBytesThatDoNotMatchTheShape) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                 {"'a'", "takes 4 bytes", "need 8"});
  // 2^62 x 4 elements: the product wraps to zero.
  expect_refused(R"({"a":{"dtype":"U8","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
                 {"does not fit 64 bits"});
  expect_refused(R"({"a":{"dtype":"U8","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})",
                 0, {"does not fit 64 bits"});
}

TEST(Safetensors, RefusesATensorBeyondTheFile) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7,
                 {"'a' ends at byte 8 of the data, which has 7"});
}

TEST(Safetensors, RefusesOverlappingTensors) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                 R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                 8, {"'b' overlaps", "byte 4 of the data, not 8"});
}

TEST(Safetensors, RefusesGapsAndTrailingBytes) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
                 {"gap before tensor 'a'"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 9,
                 {"5 bytes after the last tensor"});
}

TEST(Safetensors, RefusesANameOrFieldThatOccursTwice) {
  expect_refused(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                 1, {"has 'a' twice"});
  expect_refused(R"({"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1,
                 {"has 'dtype' twice"});
}

// Every byte of a small file replaced by every interesting value: refused or read, never a crash.
TEST(Safetensors, SurvivesAnyDamagedByte) {
  const TemporaryFolder folder;
  write_safetensors(folder / "whole", {{"a", torch::ones({2, 3})}, {"b", torch::ones(2)}});
  const std::string whole = read_text(folder / "whole");
  int refused = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const char value : {'\0', '\xff', '"', '[', '{', '9', '-', ','}) {
      std::string damaged = whole;
      damaged[at] = value;
      std::ofstream(folder / "damaged", std::ios::binary) << damaged;
      try {
        const Safetensors file(folder / "damaged");
        for (const auto& name : file.names()) as_torch(file.tensor(name)).sum().item<double>();
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 700);
}

}  // namespace
}  // namespace wf
