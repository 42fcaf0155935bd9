// Writing a GGUF file tensor by tensor, in any order and from several threads.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "gguf/gguf.h"

namespace wf {

class GgufWriter {
 public:
  // Writes header, metadata and tensor infos to `path`.partial; `tensors` give name, ne and type.
  // Throws Error for what no reader would accept (a name twice or too long, a row that is no whole
  // number of blocks).
  GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
             std::vector<GgufTensor> tensors);
  ~GgufWriter();  // removes the partial file unless finish() has returned
  GgufWriter(const GgufWriter&) = delete;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // with offsets and sizes
  uint64_t file_bytes() const { return file_bytes_; }

  // Bytes of tensors()[tensor] from byte `at` on; every byte is to be written once. Thread-safe.
  void write(std::size_t tensor, uint64_t at, std::span<const std::byte> bytes);

  // Flushes to the disk, unless `sync` is false, and renames: the file appears.
  void finish(bool sync = true);

 private:
  void write_at(uint64_t at, std::span<const std::byte> bytes);
  std::filesystem::path path_, partial_;
  std::vector<GgufTensor> tensors_;
  uint64_t data_start_ = 0, file_bytes_ = 0;
  int descriptor_ = -1;
};

}  // namespace wf
