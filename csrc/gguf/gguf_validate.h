// Whether a GGUF file is what its checkpoint should have become.
#pragma once
#include <iosfwd>
#include <string>
#include <vector>

#include "gguf/gguf_plan.h"

namespace wf {

struct Finding {
  std::string check;  // "codes"
  bool passed;
  std::string detail;  // figures, or what is wrong and where
};

// Reopens the file and compares it with the folder it was made from: structure (names, types,
// shapes, counts, metadata), every code, scale and full-precision value exactly, and detectors that
// say what a difference looks like: absmean taken twice, a scale inverted, latent weights given to
// an engine's own quantiser. `plan` is that of the same folder and options.
std::vector<Finding> validate_gguf(const std::filesystem::path& gguf, const GgufPlan& plan,
                                   const ShowProgress& progress);

// One line a finding; returns whether all have passed.
bool print_findings(const std::vector<Finding>& findings, std::ostream& out);

}  // namespace wf
