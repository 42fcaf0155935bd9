#include "data/row_order.h"

#include <algorithm>

#include "base/random.h"

namespace wf {
namespace {

enum Draw : uint64_t { kShift, kOrder };  // what an epoch's random bits are for

}  // namespace

RowOrder::RowOrder(uint64_t key, int64_t tokens, int64_t sequence_length)
    : key_(key), tokens_(tokens), sequence_length_(sequence_length) {}

int64_t RowOrder::shift(int64_t epoch) const {
  // Below T, and in a corpus of less than two rows so small that one row is left.
  const int64_t shifts = std::min(sequence_length_, tokens_ - sequence_length_);
  return static_cast<int64_t>(random_bits(key_, epoch, kShift) % shifts);
}

int64_t RowOrder::rows(int64_t epoch) const {
  return (tokens_ - 1 - shift(epoch)) / sequence_length_;
}

int64_t RowOrder::first_token(int64_t epoch, int64_t row) const {
  const auto place =
      static_cast<int64_t>(random_permutation(random_bits(key_, epoch, kOrder), rows(epoch), row));
  return shift(epoch) + place * sequence_length_;
}

}  // namespace wf
