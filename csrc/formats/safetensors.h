// A .safetensors file: 8 bytes of header length, a JSON header, the tensors' bytes. Nothing in it
// can execute. The whole header is checked against the file before any tensor is handed out.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/stored_tensor.h"

namespace wf {

class Safetensors {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation

  // Maps the file and checks its header; throws Error naming the file and the tensor at fault.
  explicit Safetensors(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const { return entries_.contains(name); }
  // A view on the mapping, which it keeps alive: no copy, not to be written to (the pages are
  // read-only). A tensor that lies unaligned in the file comes as a copy.
  StoredTensor tensor(const std::string& name) const;
  void release(const std::string& name) const;  // release_pages of the tensor's bytes
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  struct Entry {
    Dtype dtype;
    std::vector<int64_t> shape;
    uint64_t begin, end;  // bytes, counted from the end of the header
  };
  void read_header();
  void check_layout(uint64_t data_bytes) const;

  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
  uint64_t data_start_ = 0;  // byte of the file where the tensors begin
};

}  // namespace wf
