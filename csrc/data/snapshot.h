// A source's state in memory.
#pragma once
#include <variant>
#include <vector>

#include "data/source.h"

namespace wf {

class Snapshot {
 public:
  Snapshot() = default;
  explicit Snapshot(DataSource& source);
  void restore(DataSource& source) const;  // the one it was taken of

 private:
  std::vector<std::variant<torch::Tensor, int64_t, double>> values_;  // in the order of the visit
};

}  // namespace wf
