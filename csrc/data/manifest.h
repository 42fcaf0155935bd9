// The manifest of a folder that `wf data prepare` made.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace wf {

struct Manifest {
  struct Shard {
    std::string tokens_file, documents_file;
    int64_t tokens = 0, documents = 0;
    std::string tokens_sha256;
  };

  int64_t bytes_per_token = 0;  // 2 or 4, little-endian
  int64_t vocab_size = 0;
  int64_t eos_token_id = 0;
  int64_t tokens = 0, documents = 0;
  std::string tokenizer_sha256;
  std::vector<Shard> shards;

  // Throws Error when it is missing, of another format or contradicts itself.
  static Manifest read(const std::filesystem::path& folder);
};

}  // namespace wf
