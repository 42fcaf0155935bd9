// Fills a batch row by row. Documents are cut where a row ends and never see one another.
#pragma once
#include <span>
#include <vector>

#include "data/batch.h"

namespace wf {

class TokenShards;

class Packer {
 public:
  Packer(int64_t rows, int64_t sequence_length);

  // `tokens`: [T + 1], the inputs and the last label. `starts`: ascending, in 1..T, where another
  // document than the one before begins; T says so of the last label.
  void add(std::span<const int64_t> tokens, std::span<const int64_t> starts);

  // The row of T tokens that begins at token `first` of the corpus.
  void add(const TokenShards& corpus, int64_t first);

  Batch finish();  // after as many rows as announced

 private:
  void add_document(int64_t begin, int64_t end);

  int64_t filled_ = 0;  // rows
  Batch batch_;
  std::vector<int32_t> starts_;
  std::vector<int64_t> row_, row_starts_;  // the row being read
};

}  // namespace wf
