// Evaluation rows: finite, in stored order, the same every time.
#pragma once
#include <filesystem>
#include <optional>

#include "data/data_shape.h"
#include "data/source.h"
#include "data/token_shards.h"

namespace wf {

// The first rows of a prepared folder, at most `tokens` tokens and at least one row; what is left
// over at its end is not used. Rank k of n reads rows k, k + n, ..., which may be none.
class HeldOut {
 public:
  HeldOut(std::filesystem::path folder, int64_t tokens, const DataShape& shape);

  std::optional<Batch> next();  // the last one may have fewer rows
  void rewind() { row_ = shape_.rank; }
  int64_t tokens() const { return rows_ * shape_.sequence_length; }  // of all ranks
  const TokenShards& corpus() const { return corpus_; }

 private:
  DataShape shape_;
  TokenShards corpus_;
  int64_t rows_;  // of all ranks
  int64_t row_;   // this rank's next one
};

// Throws Error when training can reach the evaluation data, or its token ids mean something else.
void check_separate(const TokenShards& held_out, const DataSource& training);

}  // namespace wf
