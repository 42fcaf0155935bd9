// A GGUF file, version 3: metadata as an ordered list of typed key/value pairs, then tensors.
// Source: the specification in ggml's docs/gguf.md, and what llama.cpp's reader enforces. Little
// endian throughout.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "gguf/gguf_type.h"

namespace wf {

// Alternatives in the order of the format's type ids, so that index() is the id; the array's own
// place stands for the nested arrays that the format forbids.
struct GgufNested {
  bool operator==(const GgufNested&) const = default;
};
using GgufArray =
    std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>,
                 std::vector<int16_t>, std::vector<uint32_t>, std::vector<int32_t>,
                 std::vector<float>, std::vector<bool>, std::vector<std::string>, GgufNested,
                 std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>>;
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                               std::string, GgufArray, uint64_t, int64_t, double>;

std::string_view gguf_value_type_name(std::size_t id);  // "u32"

// Key/value pairs in file order, no key twice.
class GgufMetadata {
 public:
  GgufMetadata() = default;
  explicit GgufMetadata(std::string where) : where_(std::move(where)) {}

  // Appends, or replaces the value of a key that is there. `value` is exactly of the type to be
  // written: llama.cpp refuses a count that is not u32.
  void set(std::string key, GgufValue value);
  void append(const GgufMetadata& other);

  const GgufValue* find(std::string_view key) const;  // null when absent
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  // The value of type T, or null when absent. Throws Error naming file and key for another type.
  template <class T>
  const T* get(std::string_view key) const {
    const GgufValue* value = find(key);
    if (!value) return nullptr;
    if (const T* typed = std::get_if<T>(value)) return typed;
    fail("{}: key '{}' is of type {}, expected {}", where_, key,
         gguf_value_type_name(value->index()), gguf_value_type_name(GgufValue(T{}).index()));
  }
  template <class T>
  const T& need(std::string_view key) const {
    const T* value = get<T>(key);
    if (!value) fail("{}: key '{}' is missing", where_, key);
    return *value;
  }

  const std::vector<std::pair<std::string, GgufValue>>& pairs() const { return pairs_; }

 private:
  std::string where_ = "metadata";
  std::vector<std::pair<std::string, GgufValue>> pairs_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

struct GgufTensor {
  std::string name;          // at most 63 bytes
  std::vector<uint64_t> ne;  // extents, ne[0] contiguous: a matrix [M, K] has {K, M}
  GgufType type = GgufType::kF32;
  uint64_t offset = 0;  // from the beginning of the data; a writer computes it
  uint64_t bytes = 0;   // without padding; a writer computes it

  uint64_t row_elements() const { return ne[0]; }
  uint64_t rows() const {
    uint64_t rows = 1;
    for (std::size_t i = 1; i < ne.size(); ++i) rows *= ne[i];
    return rows;
  }
};

// Whether a file begins as GGUF files do.
bool begins_as_gguf(std::span<const std::byte> bytes);

// A mapped file. The constructor checks all of it against its size before anything is handed out,
// and throws Error naming the file and what is wrong.
class Gguf {
 public:
  explicit Gguf(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  uint64_t data_start() const { return data_start_; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in file order
  const GgufTensor* find(std::string_view name) const;                 // null when absent
  const GgufTensor& tensor(std::string_view name) const;               // throws Error when absent
  std::span<const std::byte> bytes(const GgufTensor& tensor) const;    // in the mapping

 private:
  void read();
  std::shared_ptr<const MappedFile> file_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32, data_start_ = 0;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace wf
