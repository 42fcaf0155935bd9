#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace wf {
namespace {

using nlohmann::json;

// Parses a header without trusting it: no name twice, nothing nested deeper than a header can be.
json parse_header(std::string_view text, const std::string& file) {
  std::set<std::string> names, fields;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (depth == 1) fields.clear();
      if (!(depth == 1 ? names : fields).insert(key).second)
        fail("{}: the header has '{}' twice", file, key);
    } else if (depth == 1 && event == json::parse_event_t::value) {
      fail("{}: the header has a bare value where a tensor is described", file);
    } else if (depth > 2 && (event == json::parse_event_t::object_start ||
                             event == json::parse_event_t::array_start)) {
      fail("{}: the header is nested deeper than a safetensors header can be", file);
    }
    return true;
  };
  try {
    json header = json::parse(text, check);
    if (!header.is_object()) fail("{}: the header is not a JSON object", file);
    return header;
  } catch (const json::exception& problem) {
    fail("{}: the header is not valid JSON: {}", file, problem.what());
  }
}

const json& field(const json& description, const char* key, const std::string& where) {
  const auto found = description.find(key);
  if (found == description.end()) fail("{}: '{}' is missing in the header", where, key);
  return *found;
}

Dtype read_dtype(const json& description, const std::string& where) {
  const json& value = field(description, "dtype", where);
  const std::string name = value.is_string() ? value.get<std::string>() : "";
  for (const auto& known : kDtypes)
    if (name == known.name) return known.dtype;
  fail("{}: dtype {} is not one that is read here (F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL)", where,
       value.dump(-1, ' ', false, json::error_handler_t::replace));
}

// A list of whole numbers that fit int64.
std::vector<int64_t> read_numbers(const json& description, const char* key,
                                  const std::string& where) {
  const json& list = field(description, key, where);
  if (!list.is_array()) fail("{}: '{}' is not a list", where, key);
  std::vector<int64_t> numbers;
  for (const json& item : list) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > INT64_MAX)
      fail("{}: '{}' holds something that is not a whole number from 0 to 2^63-1", where, key);
    numbers.push_back(item.get<int64_t>());
  }
  return numbers;
}

// Bytes of a tensor. Extents of zero count as one while checking for overflow, since strides are
// computed that way.
uint64_t count_bytes(const std::vector<int64_t>& shape, Dtype dtype, const std::string& where) {
  int64_t bytes = dtype_info(dtype).bytes;
  bool empty = false;
  for (const int64_t extent : shape) {
    empty |= extent == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(extent, 1), &bytes))
      fail("{}: the product of its shape does not fit 64 bits", where);
  }
  return empty ? 0 : static_cast<uint64_t>(bytes);
}

}  // namespace

Safetensors::Safetensors(const std::filesystem::path& path)
    : file_(std::make_shared<const MappedFile>(path)) {
  read_header();
}

void Safetensors::read_header() {
  const std::string file = path().string();
  const auto bytes = file_->bytes();
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes))
    fail("{}: {} bytes are too few for a safetensors file; was it copied in full?", file,
         bytes.size());
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes)
    fail("{}: claims a header of {} bytes, above the limit of {}; this is no safetensors file",
         file, header_bytes, kMaxHeaderBytes);
  data_start_ = sizeof(header_bytes) + header_bytes;
  if (data_start_ > bytes.size())
    fail("{}: claims a header of {} bytes but has {} bytes in all; was it copied in full?", file,
         header_bytes, bytes.size());
  const json header = parse_header(
      {reinterpret_cast<const char*>(bytes.data()) + sizeof(header_bytes), header_bytes}, file);
  for (const auto& [name, description] : header.items()) {
    const std::string where = fmt::format("{}: tensor '{}'", file, name);
    if (!description.is_object()) fail("{} is not described by a JSON object", where);
    if (name == "__metadata__") {
      for (const auto& [key, value] : description.items()) {
        if (!value.is_string()) fail("{}: metadata '{}' is not a text", file, key);
        metadata_[key] = value.get<std::string>();
      }
      continue;
    }
    const auto offsets = read_numbers(description, "data_offsets", where);
    if (offsets.size() != 2 || offsets[0] > offsets[1])
      fail("{}: 'data_offsets' is not a [begin, end] pair", where);
    const Entry entry{read_dtype(description, where), read_numbers(description, "shape", where),
                      static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1])};
    const uint64_t needed = count_bytes(entry.shape, entry.dtype, where);
    if (entry.end - entry.begin != needed)
      fail("{}: takes {} bytes but its dtype and shape need {}", where, entry.end - entry.begin,
           needed);
    entries_.emplace(name, entry);
  }
  check_layout(bytes.size() - data_start_);
}

// The tensors cover the data without gap or overlap.
void Safetensors::check_layout(uint64_t data_bytes) const {
  const std::string file = path().string();
  std::vector<std::pair<const Entry*, const std::string*>> order;
  for (const auto& [name, entry] : entries_) order.emplace_back(&entry, &name);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  uint64_t covered = 0;
  for (const auto& [entry, name] : order) {
    if (entry->begin < covered)
      fail("{}: tensor '{}' overlaps the one before it (it begins at byte {} of the data, not {})",
           file, *name, entry->begin, covered);
    if (entry->begin > covered)
      fail("{}: there is a gap before tensor '{}' (it begins at byte {} of the data, not {})", file,
           *name, entry->begin, covered);
    if (entry->end > data_bytes)
      fail("{}: tensor '{}' ends at byte {} of the data, which has {}; was it copied in full?",
           file, *name, entry->end, data_bytes);
    covered = entry->end;
  }
  if (covered != data_bytes)
    fail("{}: {} bytes after the last tensor belong to none", file, data_bytes - covered);
}

std::vector<std::string> Safetensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

StoredTensor Safetensors::tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) fail("{}: has no tensor '{}'", path().string(), name);
  const Entry& entry = found->second;
  const auto bytes = file_->bytes().subspan(data_start_ + entry.begin, entry.end - entry.begin);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % uintptr_t(dtype_info(entry.dtype).bytes) == 0)
    return {entry.dtype, entry.shape, bytes, file_};
  return in_memory(entry.dtype, entry.shape, std::vector<std::byte>(bytes.begin(), bytes.end()));
}

void Safetensors::release(const std::string& name) const {
  const Entry& entry = entries_.at(name);
  release_pages(file_->bytes().subspan(data_start_ + entry.begin, entry.end - entry.begin));
}

}  // namespace wf
