// Which tokens of a corpus a row of an epoch covers: a function of (key, epoch, row) alone.
#pragma once
#include <cstdint>

namespace wf {

// The corpus in stored order is one stream of N tokens. An epoch cuts it into rows of T from a
// random shift on, so that no token is for ever at a row's end, and visits them in random order.
class RowOrder {
 public:
  // `tokens` (N) is at least `sequence_length` (T) + 1: a row needs its last label.
  RowOrder(uint64_t key, int64_t tokens, int64_t sequence_length);

  int64_t rows(int64_t epoch) const;
  int64_t first_token(int64_t epoch, int64_t row) const;  // row < rows(epoch)

 private:
  int64_t shift(int64_t epoch) const;

  uint64_t key_;
  int64_t tokens_, sequence_length_;
};

}  // namespace wf
