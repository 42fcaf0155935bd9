#include "gguf/gguf.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace wf {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxStringBytes = uint64_t{1} << 30, kMaxArrayElements = uint64_t{1} << 30;
constexpr std::size_t kMaxNameBytes = 63, kMaxDims = 4;
// The least that a key/value pair or a tensor's description can take: counts that claim more than
// the file could hold are refused before anything is allocated for them.
constexpr uint64_t kMinPairBytes = 8 + 4 + 1, kMinInfoBytes = 8 + 4 + 8 + 4 + 8;

constexpr std::array<std::string_view, 13> kValueTypes = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

// Walks over the bytes of a file; every step is checked against its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  uint64_t position() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }

  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > left())
      fail("{}: ends inside {} ({} bytes needed at byte {}, {} left); was it copied in full?",
           file_, what, size, at_, left());
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  bool boolean(std::string_view what) {
    const auto value = number<uint8_t>(what);
    if (value > 1) fail("{}: {} is a bool with the value {}", file_, what, value);
    return value == 1;
  }

  std::string string(std::string_view what) {
    const auto size = number<uint64_t>(what);
    if (size > kMaxStringBytes)
      fail("{}: {} claims a string of {} bytes, above the limit of 1 GiB", file_, what, size);
    const auto text = take(size, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  template <class T>
  T value(std::string_view what) {
    if constexpr (std::is_same_v<T, bool>)
      return boolean(what);
    else if constexpr (std::is_same_v<T, std::string>)
      return string(what);
    else if constexpr (std::is_same_v<T, GgufArray>)
      return array(what);
    else
      return number<T>(what);
  }

  GgufArray array(std::string_view what) {
    const auto type = number<uint32_t>(what);
    if (type == 9) fail("{}: {} is an array of arrays, which the format forbids", file_, what);
    if (type >= kValueTypes.size())
      fail("{}: {} is an array of the unknown type {}", file_, what, type);
    const auto count = number<uint64_t>(what);
    if (count > kMaxArrayElements)
      fail("{}: {} claims an array of {} elements, above the limit of 2^30", file_, what, count);
    return elements(type, count, what, std::make_index_sequence<kValueTypes.size()>{});
  }

  GgufValue any(uint32_t type, std::string_view what) {
    if (type >= kValueTypes.size()) fail("{}: {} is of the unknown type {}", file_, what, type);
    return any(type, what, std::make_index_sequence<kValueTypes.size()>{});
  }

 private:
  template <std::size_t... Ids>
  GgufValue any(uint32_t type, std::string_view what, std::index_sequence<Ids...>) {
    GgufValue out;
    const auto read = [&]<std::size_t id>() {
      if (id == type) out.emplace<id>(value<std::variant_alternative_t<id, GgufValue>>(what));
    };
    (read.template operator()<Ids>(), ...);
    return out;
  }

  template <std::size_t... Ids>
  GgufArray elements(uint32_t type, uint64_t count, std::string_view what,
                     std::index_sequence<Ids...>) {
    GgufArray out;
    const auto read = [&]<std::size_t id>() {
      if constexpr (id != 9) {
        if (id != type) return;
        using Element = std::variant_alternative_t<id, GgufValue>;
        const uint64_t least = std::is_same_v<Element, std::string> ? 8 : sizeof(Element);
        if (count > left() / least)
          fail(
              "{}: {} claims an array of {} elements, more than the file has bytes for; was it "
              "copied in full?",
              file_, what, count);
        auto& list = out.emplace<id>();
        list.reserve(count);
        for (uint64_t i = 0; i < count; ++i) list.push_back(value<Element>(what));
      }
    };
    (read.template operator()<Ids>(), ...);
    return out;
  }

  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
  std::string file_;
};

uint64_t read_alignment(const GgufMetadata& metadata, const std::string& file) {
  const auto* alignment = metadata.get<uint32_t>("general.alignment");
  if (!alignment) return 32;
  if (*alignment == 0 || (*alignment & (*alignment - 1)))
    fail("{}: general.alignment is {}, expected a power of two", file, *alignment);
  return *alignment;
}

GgufTensor read_info(Cursor& cursor, const std::string& file) {
  GgufTensor tensor;
  tensor.name = cursor.string("the name of a tensor");
  if (tensor.name.size() > kMaxNameBytes)
    fail("{}: the name of tensor '{}…' has {} bytes, more than {}", file, tensor.name.substr(0, 63),
         tensor.name.size(), kMaxNameBytes);
  const std::string where = fmt::format("tensor '{}'", tensor.name);
  const auto dims = cursor.number<uint32_t>(where);
  if (dims < 1 || dims > kMaxDims)
    fail("{}: {} has {} dimensions, expected 1 to {}", file, where, dims, kMaxDims);
  for (uint32_t i = 0; i < dims; ++i) {
    tensor.ne.push_back(cursor.number<uint64_t>(where));
    if (tensor.ne.back() == 0 || tensor.ne.back() > INT64_MAX)
      fail("{}: {} has an extent of {}", file, where, tensor.ne.back());
  }
  const auto id = cursor.number<uint32_t>(where);
  const auto* info = find_gguf_type(id);
  if (!info) fail("{}: {} is of type {}, which is not one that is known here", file, where, id);
  tensor.type = info->type;
  const auto bytes = gguf_tensor_bytes(tensor.type, tensor.ne);
  if (!bytes && tensor.ne[0] % info->block_elements)
    fail("{}: {} has rows of {} elements, which blocks of {} ({}) do not divide", file, where,
         tensor.ne[0], info->block_elements, info->name);
  if (!bytes) fail("{}: {} has a shape that type {} has no size for", file, where, info->name);
  tensor.bytes = *bytes;
  tensor.offset = cursor.number<uint64_t>(where);
  return tensor;
}

uint64_t padded(uint64_t bytes, uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace

std::string_view gguf_value_type_name(std::size_t id) {
  return id < kValueTypes.size() ? kValueTypes[id] : "?";
}

bool begins_as_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

void GgufMetadata::set(std::string key, GgufValue value) {
  const auto [at, is_new] = index_.try_emplace(key, pairs_.size());
  if (is_new)
    pairs_.emplace_back(std::move(key), std::move(value));
  else
    pairs_[at->second].second = std::move(value);
}

void GgufMetadata::append(const GgufMetadata& other) {
  for (const auto& [key, value] : other.pairs()) set(key, value);
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &pairs_[found->second].second;
}

Gguf::Gguf(const std::filesystem::path& path)
    : file_(std::make_shared<const MappedFile>(path)), metadata_(path.string()) {
  read();
}

void Gguf::read() {
  const std::string file = path().string();
  Cursor cursor(file_->bytes(), file);
  if (!begins_as_gguf(cursor.take(kMagic.size(), "the header")))
    fail("{}: does not begin with \"GGUF\", so it is no GGUF file", file);
  version_ = cursor.number<uint32_t>("the header");
  if (version_ != 0 && version_ % 65536 == 0)
    fail("{}: is a big-endian GGUF file; only little-endian ones are read", file);
  if (version_ != 2 && version_ != 3)
    fail("{}: is of GGUF version {}; versions 2 and 3 are read", file, version_);
  const auto num_tensors = cursor.number<uint64_t>("the header");
  const auto num_pairs = cursor.number<uint64_t>("the header");
  if (num_pairs > cursor.left() / kMinPairBytes)
    fail("{}: claims {} metadata entries, more than it has bytes for; was it copied in full?", file,
         num_pairs);
  for (uint64_t i = 0; i < num_pairs; ++i) {
    const std::string key = cursor.string("a metadata key");
    if (key.empty()) fail("{}: a metadata key is empty", file);
    if (metadata_.contains(key)) fail("{}: has the metadata key '{}' twice", file, key);
    const std::string where = fmt::format("metadata key '{}'", key);
    const auto type = cursor.number<uint32_t>(where);
    metadata_.set(key, cursor.any(type, where));
  }
  alignment_ = read_alignment(metadata_, file);
  if (num_tensors > cursor.left() / kMinInfoBytes)
    fail("{}: claims {} tensors, more than it has bytes for; was it copied in full?", file,
         num_tensors);
  uint64_t end = 0;  // of the tensors so far, padded
  for (uint64_t i = 0; i < num_tensors; ++i) {
    GgufTensor tensor = read_info(cursor, file);
    if (!index_.try_emplace(tensor.name, tensors_.size()).second)
      fail("{}: has the tensor '{}' twice", file, tensor.name);
    if (tensor.offset != end)
      fail(
          "{}: tensor '{}' begins at byte {} of the data, expected {}: there is a gap or an "
          "overlap",
          file, tensor.name, tensor.offset, end);
    if (tensor.bytes > INT64_MAX / 2 - end)
      fail("{}: tensor '{}' makes the data larger than any file", file, tensor.name);
    end += padded(tensor.bytes, alignment_);
    tensors_.push_back(std::move(tensor));
  }
  data_start_ = padded(cursor.position(), alignment_);
  if (tensors_.empty()) return;
  const uint64_t size = file_->bytes().size();
  if (data_start_ > size || end > size - data_start_)
    fail("{}: has {} bytes, its tensors need {}; was it copied in full?", file, size,
         data_start_ + end);
}

const GgufTensor* Gguf::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const GgufTensor& Gguf::tensor(std::string_view name) const {
  const GgufTensor* found = find(name);
  if (!found) fail("{}: has no tensor '{}'", path().string(), name);
  return *found;
}

std::span<const std::byte> Gguf::bytes(const GgufTensor& tensor) const {
  return file_->bytes().subspan(data_start_ + tensor.offset, tensor.bytes);
}

}  // namespace wf
