#include "data/token_shards.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace wf {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "shards are mapped as they are");

template <class T>
std::span<const T> view(const MappedFile& file) {
  const auto bytes = file.bytes();
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

MappedFile open(const fs::path& path, int64_t expected_bytes) {
  if (!fs::is_regular_file(path))
    fail("{}: is missing; copy the folder again or prepare the data again", path.string());
  MappedFile file(path);
  if (static_cast<int64_t>(file.bytes().size()) != expected_bytes)
    fail("{}: has {} bytes, the manifest says {}; copy the folder again or prepare the data again",
         path.string(), file.bytes().size(), expected_bytes);
  return file;
}

// Widens and returns the largest id.
template <class Stored>
int64_t widen(std::span<const Stored> from, int64_t* to) {
  Stored largest = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i] = from[i];
    largest = std::max(largest, from[i]);
  }
  return largest;
}

}  // namespace

TokenShards::TokenShards(fs::path folder)
    : folder_(std::move(folder)), manifest_(Manifest::read(folder_)) {
  int64_t first = 0;
  for (const Manifest::Shard& shard : manifest_.shards) {
    MappedFile tokens = open(folder_ / shard.tokens_file, shard.tokens * manifest_.bytes_per_token);
    MappedFile documents =
        open(folder_ / shard.documents_file, (shard.documents + 1) * int64_t{sizeof(uint64_t)});
    const auto offsets = view<uint64_t>(documents);
    if (offsets.front() != 0 || offsets.back() != static_cast<uint64_t>(shard.tokens))
      fail("{}: offsets go from {} to {}, expected 0 to {}; prepare the data again",
           documents.path().string(), offsets.front(), offsets.back(), shard.tokens);
    if (shard.tokens > 0) shards_.push_back({first, std::move(tokens), std::move(documents)});
    first += shard.tokens;
  }
}

void TokenShards::check_fits(const DataShape& shape) const {
  if (tokens() <= shape.sequence_length)
    fail(
        "{}: has {} tokens, one row of sequence_length {} needs {}; prepare more data or shorten "
        "the rows",
        folder_.string(), tokens(), shape.sequence_length, shape.sequence_length + 1);
  if (manifest_.vocab_size > shape.vocab_size)
    fail(
        "{}: was prepared with a vocabulary of {}, the model has embeddings for {}; prepare the "
        "data with the model's own tokenizer",
        folder_.string(), manifest_.vocab_size, shape.vocab_size);
}

std::size_t TokenShards::shard_of(int64_t token) const {
  const auto after =
      std::upper_bound(shards_.begin(), shards_.end(), token,
                       [](int64_t wanted, const Shard& shard) { return wanted < shard.first; });
  return after - shards_.begin() - 1;
}

void TokenShards::read(int64_t first, std::span<int64_t> out) const {
  int64_t* to = out.data();
  int64_t left = static_cast<int64_t>(out.size());
  for (std::size_t i = shard_of(first); left > 0; ++i) {
    const Shard& shard = shards_.at(i);
    const auto copy = [&]<class Stored>(std::span<const Stored> stored) {
      stored = stored.subspan(first - shard.first);
      stored = stored.first(std::min<std::size_t>(left, stored.size()));
      const int64_t largest = widen(stored, to);
      if (largest >= manifest_.vocab_size)
        fail(
            "{}: holds token id {} near token {}, vocab_size is {}; it is damaged, prepare the "
            "data again",
            shard.tokens.path().string(), largest, first - shard.first, manifest_.vocab_size);
      return static_cast<int64_t>(stored.size());
    };
    const int64_t copied = manifest_.bytes_per_token == 2 ? copy(view<uint16_t>(shard.tokens))
                                                          : copy(view<uint32_t>(shard.tokens));
    to += copied;
    first += copied;
    left -= copied;
  }
}

void TokenShards::document_starts(int64_t first, int64_t last, std::vector<int64_t>& out) const {
  int64_t previous = first - 1;
  for (std::size_t i = shard_of(first); i < shards_.size() && shards_[i].first < last; ++i) {
    const Shard& shard = shards_[i];
    const auto offsets = view<uint64_t>(shard.documents);
    const auto starts = offsets.first(offsets.size() - 1);
    const uint64_t wanted = std::max<int64_t>(first - shard.first, 0);
    for (auto at = std::lower_bound(starts.begin(), starts.end(), wanted); at != starts.end();
         ++at) {
      const bool inside = *at < offsets.back();  // which is the shard's number of tokens
      const int64_t start = inside ? shard.first + static_cast<int64_t>(*at) : previous;
      if (start <= previous)
        fail("{}: offsets do not rise; it is damaged, prepare the data again",
             shard.documents.path().string());
      if (start >= last) break;
      out.push_back(start - first);
      previous = start;
    }
  }
}

void check_same_tokenizer(const TokenShards& one, const TokenShards& other) {
  const Manifest &a = one.manifest(), &b = other.manifest();
  if (a.tokenizer_sha256 != b.tokenizer_sha256 || a.vocab_size != b.vocab_size ||
      a.eos_token_id != b.eos_token_id)
    fail("{} and {} were prepared with different tokenizers; prepare both with the same one",
         one.folder().string(), other.folder().string());
}

}  // namespace wf
