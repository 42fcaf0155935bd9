#include "data/synthetic.h"

#include "base/error.h"
#include "base/random.h"
#include "data/packer.h"

namespace wf {

Synthetic::Synthetic(const Config& config, const DataShape& shape)
    : shape_(shape), key_(config.seed) {
  if (config.documents_per_row > shape.sequence_length)
    fail("documents_per_row is {}, a row of {} tokens cannot hold so many",
         config.documents_per_row, shape.sequence_length);
  for (int64_t i = 1; i < config.documents_per_row; ++i)
    starts_.push_back(i * shape.sequence_length / config.documents_per_row);
}

Batch Synthetic::next() {
  Packer packer(shape_.batch_size, shape_.sequence_length);
  std::vector<int64_t> tokens(shape_.sequence_length + 1);
  for (int64_t i = 0; i < shape_.batch_size; ++i) {
    const int64_t row = row_ + i * shape_.size + shape_.rank;
    for (std::size_t t = 0; t < tokens.size(); ++t)
      tokens[t] = static_cast<int64_t>(random_bits(key_, row, t) % shape_.vocab_size);
    packer.add(tokens, starts_);
  }
  row_ += shape_.batch_size * shape_.size;
  return packer.finish();
}

void Synthetic::state(StateVisitor& visit) { visit("row", row_); }

}  // namespace wf
