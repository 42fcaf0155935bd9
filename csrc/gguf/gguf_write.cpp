#include "gguf/gguf_write.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace wf {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;

uint64_t padded(uint64_t bytes, uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

// The bytes before the data.
class Head {
 public:
  template <class T>
  void add(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      add(uint64_t{value.size()});
      text_ += value;
    } else if constexpr (std::is_same_v<T, bool>) {
      text_ += char(value);
    } else if constexpr (std::is_same_v<T, GgufArray>) {
      add(uint32_t(value.index()));
      std::visit([&](const auto& list) { add_list(list); }, value);
    } else {
      static_assert(std::is_arithmetic_v<T>);
      text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    }
  }
  void pad(uint64_t alignment) { text_.resize(padded(text_.size(), alignment), '\0'); }
  const std::string& text() const { return text_; }

 private:
  template <class T>
  void add_list(const std::vector<T>& list) {
    add(uint64_t{list.size()});
    for (std::size_t i = 0; i < list.size(); ++i) add(T(list[i]));
  }
  void add_list(const GgufNested&) { fail("a GGUF file cannot hold an array of arrays"); }

  std::string text_;
};

// Takes the file for this process alone. One that was finished in between has another name by now.
bool is_ours(int descriptor, const std::filesystem::path& path) {
  struct stat held{}, named{};
  return flock(descriptor, LOCK_EX | LOCK_NB) == 0 && fstat(descriptor, &held) == 0 &&
         stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino;
}

}  // namespace

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
                       std::vector<GgufTensor> tensors)
    : path_(path), partial_(path.string() + ".partial"), tensors_(std::move(tensors)) {
  const auto* chosen = metadata.get<uint32_t>("general.alignment");
  const uint64_t alignment = chosen ? *chosen : kAlignment;
  if (alignment == 0 || (alignment & (alignment - 1)))
    fail("{}: general.alignment is {}, expected a power of two", path.string(), alignment);

  Head head;
  for (const char letter : {'G', 'G', 'U', 'F'}) head.add(letter);
  head.add(kVersion);
  head.add(uint64_t{tensors_.size()});
  head.add(uint64_t{metadata.pairs().size()});
  for (const auto& [key, value] : metadata.pairs()) {
    head.add(key);
    head.add(uint32_t(value.index()));
    std::visit([&](const auto& typed) { head.add(typed); }, value);
  }
  std::set<std::string> names;
  uint64_t end = 0;
  for (auto& tensor : tensors_) {
    if (tensor.name.size() > 63 || !names.insert(tensor.name).second)
      fail("{}: the tensor name '{}' is {}", path.string(), tensor.name,
           tensor.name.size() > 63 ? "longer than 63 bytes" : "there twice");
    const auto bytes = gguf_tensor_bytes(tensor.type, tensor.ne);
    if (!bytes || tensor.ne.size() > 4)
      fail("{}: tensor '{}' has a shape that type {} cannot store", path.string(), tensor.name,
           gguf_type_name(tensor.type));
    tensor.bytes = *bytes;
    tensor.offset = end;
    end += padded(tensor.bytes, alignment);
    head.add(tensor.name);
    head.add(uint32_t(tensor.ne.size()));
    for (const uint64_t extent : tensor.ne) head.add(extent);
    head.add(static_cast<uint32_t>(tensor.type));
    head.add(tensor.offset);
  }
  head.pad(alignment);
  data_start_ = head.text().size();
  file_bytes_ = data_start_ + end;

  descriptor_ = open(partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("{}: cannot create: {}", partial_.string(), std::strerror(errno));
  if (!is_ours(descriptor_, partial_)) {
    close(descriptor_);
    fail("{}: another process is writing it; wait, or choose another output", partial_.string());
  }
  try {
    // What a killed process left is emptied, so that padding reads as zeros; an empty file is not,
    // for ext4 would then write it to the disk when it is closed.
    const bool left = std::filesystem::file_size(partial_) > 0;
    if ((left && ftruncate(descriptor_, 0) != 0) ||
        ftruncate(descriptor_, static_cast<off_t>(file_bytes_)) != 0)
      fail("{}: cannot make it {} bytes long: {}", partial_.string(), file_bytes_,
           std::strerror(errno));
    write_at(0, std::as_bytes(std::span(head.text())));
  } catch (...) {
    close(descriptor_);
    unlink(partial_.c_str());
    throw;
  }
}

GgufWriter::~GgufWriter() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(partial_.c_str());
}

void GgufWriter::write_at(uint64_t at, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      fail("{}: cannot write {} bytes: {}", partial_.string(), bytes.size(), std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    at += static_cast<uint64_t>(written);
  }
}

void GgufWriter::write(std::size_t tensor, uint64_t at, std::span<const std::byte> bytes) {
  const GgufTensor& info = tensors_.at(tensor);
  if (at > info.bytes || bytes.size() > info.bytes - at)
    fail("internal error: tensor '{}' has {} bytes, {} were written at byte {}", info.name,
         info.bytes, bytes.size(), at);
  write_at(data_start_ + info.offset + at, bytes);
}

void GgufWriter::finish(bool sync) {
  if (sync) sync_to_disk(partial_);
  std::error_code bad;
  std::filesystem::rename(partial_, path_, bad);
  if (bad) fail("{}: cannot rename to {}: {}", partial_.string(), path_.string(), bad.message());
  close(descriptor_);
  descriptor_ = -1;
}

}  // namespace wf
