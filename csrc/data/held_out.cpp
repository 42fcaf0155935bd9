#include "data/held_out.h"

#include <algorithm>

#include "base/error.h"
#include "data/packer.h"

namespace wf {

HeldOut::HeldOut(std::filesystem::path folder, int64_t tokens, const DataShape& shape)
    : shape_(shape), corpus_(std::move(folder)), row_(shape.rank) {
  corpus_.check_fits(shape);
  if (tokens < shape.sequence_length)
    fail("evaluating on {} tokens is less than one row of sequence_length {}; ask for more", tokens,
         shape.sequence_length);
  rows_ = std::min(tokens, corpus_.tokens() - 1) / shape.sequence_length;
}

std::optional<Batch> HeldOut::next() {
  if (row_ >= rows_) return std::nullopt;
  const int64_t left = (rows_ - row_ + shape_.size - 1) / shape_.size;
  const int64_t batch_rows = std::min(left, shape_.batch_size);
  Packer packer(batch_rows, shape_.sequence_length);
  for (int64_t i = 0; i < batch_rows; ++i, row_ += shape_.size)
    packer.add(corpus_, row_ * shape_.sequence_length);
  return packer.finish();
}

void check_separate(const TokenShards& held_out, const DataSource& training) {
  for (const TokenShards* corpus : training.corpora()) {
    check_same_tokenizer(*corpus, held_out);
    const bool same_folder = std::filesystem::equivalent(corpus->folder(), held_out.folder());
    for (const Manifest::Shard& trained : corpus->manifest().shards)
      for (const Manifest::Shard& evaluated : held_out.manifest().shards)
        if (same_folder || trained.tokens_sha256 == evaluated.tokens_sha256)
          fail(
              "held-out data must be separate: {} of {} is also trained on, in {}; `wf data "
              "prepare --held-out` sets a part aside",
              evaluated.tokens_file, held_out.folder().string(), corpus->folder().string());
  }
}

}  // namespace wf
