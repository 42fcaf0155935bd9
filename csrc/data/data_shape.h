// What a data source must deliver, and which share of it.
#pragma once
#include <cstdint>

namespace wf {

struct DataShape {
  int64_t batch_size = 1;       // B: rows of one rank and micro-step
  int64_t sequence_length = 0;  // T
  int64_t rank = 0;
  int64_t size = 1;        // ranks that share the rows
  int64_t vocab_size = 0;  // the model's: it has no embedding for ids from here on
};

}  // namespace wf
