// A folder of prepared tokens, mapped: one stream of documents, whatever files it is cut into.
#pragma once
#include <filesystem>
#include <span>
#include <vector>

#include "base/file.h"
#include "data/data_shape.h"
#include "data/manifest.h"

namespace wf {

class TokenShards {
 public:
  // Checks the manifest and that every file has the size it says; does not read the tokens (`wf
  // data inspect --verify` does). Throws Error.
  explicit TokenShards(std::filesystem::path folder);

  const std::filesystem::path& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }
  int64_t tokens() const { return manifest_.tokens; }

  // Throws Error when it has not one row for `shape`, or ids the model has no embedding for.
  void check_fits(const DataShape& shape) const;

  // Tokens [first, first + out.size()) of the stream. Throws Error on an id that is not below
  // vocab_size: on a GPU it would end the process without saying where it came from.
  void read(int64_t first, std::span<int64_t> out) const;

  // Appends where documents start in tokens [first, last) of the stream, less `first`, ascending.
  void document_starts(int64_t first, int64_t last, std::vector<int64_t>& out) const;

 private:
  struct Shard {
    int64_t first;                 // place of its first token in the stream
    MappedFile tokens, documents;  // `documents`: uint64 offsets within the shard, and their end
  };
  std::size_t shard_of(int64_t token) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  std::vector<Shard> shards_;  // none is empty
};

// Throws Error when their token ids do not mean the same.
void check_same_tokenizer(const TokenShards& one, const TokenShards& other);

}  // namespace wf
