// A block matrix of a model folder as codes and one scale, whichever way the folder stores it.
#pragma once
#include <cstdint>
#include <string>

#include "formats/hf_folder.h"
#include "shape/model_folder.h"

namespace wf {

class TernarySource {
 public:
  enum class Kind {
    kLatent,   // floats, ternarised here by the training formula
    kTernary,  // floats that are −s, 0 and s already: s stays (absmean would shrink it)
    kPacked,   // codes and a scale
  };

  // Measures the scale: one pass over the matrix, on all threads. Throws Error for another shape, a
  // missing scale, values that are not finite.
  TernarySource(const HfFolder& folder, std::string name, Storage storage, int64_t rows,
                int64_t columns);

  const std::string& name() const { return name_; }
  Kind kind() const { return kind_; }
  float scale() const { return scale_; }

  // The codes of rows first..first+count-1, in the folder's order. Thread-safe.
  void codes(int64_t first, int64_t count, int8_t* out) const;

 private:
  void measure();

  std::string name_, where_;
  StoredTensor stored_;  // a view on the folder's mapping; F64 as fp32 in memory
  int64_t rows_, columns_;
  Kind kind_ = Kind::kLatent;
  float scale_ = 0;
};

}  // namespace wf
