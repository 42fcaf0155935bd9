#include "data/packer.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "data/token_shards.h"

namespace wf {

Packer::Packer(int64_t rows, int64_t sequence_length) : row_(sequence_length + 1) {
  if (rows > std::numeric_limits<int32_t>::max() / sequence_length)
    fail("a batch of {} rows of {} tokens is beyond the 2^31 tokens that document starts can count",
         rows, sequence_length);
  batch_.tokens = torch::empty({rows, sequence_length}, torch::kInt64);
  batch_.labels = torch::empty_like(batch_.tokens);
  batch_.positions = torch::empty_like(batch_.tokens);
}

void Packer::add(std::span<const int64_t> tokens, std::span<const int64_t> starts) {
  const int64_t length = batch_.tokens.size(1);
  int64_t* labels = batch_.labels.mutable_data_ptr<int64_t>() + filled_ * length;
  std::copy_n(tokens.begin(), length, batch_.tokens.mutable_data_ptr<int64_t>() + filled_ * length);
  std::copy_n(tokens.begin() + 1, length, labels);

  int64_t begin = 0;
  for (const int64_t end : starts) {
    add_document(begin, end);
    labels[end - 1] = Batch::kIgnore;  // the next token belongs to another document
    begin = end;
  }
  if (begin < length) add_document(begin, length);
  batch_.valid_labels += length - static_cast<int64_t>(starts.size());
  ++filled_;
}

void Packer::add_document(int64_t begin, int64_t end) {
  const int64_t row = filled_ * batch_.tokens.size(1);
  starts_.push_back(static_cast<int32_t>(row + begin));
  int64_t* positions = batch_.positions.mutable_data_ptr<int64_t>() + row;
  std::iota(positions + begin, positions + end, 0);
  batch_.longest = std::max(batch_.longest, end - begin);
}

void Packer::add(const TokenShards& corpus, int64_t first) {
  const int64_t length = batch_.tokens.size(1);
  corpus.read(first, row_);
  row_starts_.clear();
  corpus.document_starts(first + 1, first + length + 1, row_starts_);
  for (int64_t& start : row_starts_) ++start;  // from first + 1 to first
  add(row_, row_starts_);
}

Batch Packer::finish() {
  starts_.push_back(static_cast<int32_t>(batch_.tokens.numel()));
  batch_.starts = torch::tensor(starts_, torch::kInt32);
  batch_.device_starts = batch_.starts;
  return std::move(batch_);
}

}  // namespace wf
