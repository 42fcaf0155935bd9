// What the ternary codes of every layer do over a run.
#pragma once
#include <torch/types.h>

#include <string>
#include <vector>

#include "nn/decoder.h"

namespace wf {

struct LayerStatistics {
  std::string name;
  double zero_fraction;  // share of codes that are 0; 0.31 for a Gaussian
  double flip_rate;      // share of codes that changed since the last look; NaN at the first
  double scale;          // Δ
  double scale_drift;    // Δ now / Δ at the first look − 1
};

// Remembers the codes of its last look: one byte a weight.
class LayerWatch {
 public:
  std::vector<LayerStatistics> look(const Decoder& model);

 private:
  std::vector<torch::Tensor> codes_;  // int8
  std::vector<double> first_scale_;
};

}  // namespace wf
