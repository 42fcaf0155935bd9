// What the ternary codes of every layer do over a run.
#pragma once
#include <torch/types.h>

#include <string>
#include <vector>

#include "io/state.h"
#include "nn/decoder.h"

namespace wf {

struct LayerStatistics {
  std::string name;
  double zero_fraction;  // share of codes that are 0; 0.31 for a Gaussian
  double flip_rate;      // share of codes that changed since the last look
  double scale;          // Δ
  double scale_drift;    // Δ now / Δ when the run started − 1
};

// Remembers the codes of its last look, two bits a weight, and the scales of its first, which a
// checkpoint keeps. Being made is a look; a resumed run's flips count from there.
class LayerWatch {
 public:
  explicit LayerWatch(const Decoder& model);
  std::vector<LayerStatistics> look();
  void state(StateVisitor& visit);

 private:
  struct Layer {
    std::string name;
    torch::Tensor weight;
    torch::Tensor codes;  // uint8: four codes + 1 a byte
  };
  std::vector<Layer> layers_;
  torch::Tensor first_scales_;  // fp64 [layers]
};

}  // namespace wf
