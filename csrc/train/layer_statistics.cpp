#include "train/layer_statistics.h"

#include <torch/torch.h>

#include <limits>

#include "ops/ternary.h"

namespace wf {

std::vector<LayerStatistics> LayerWatch::look(const Decoder& model) {
  std::vector<LayerStatistics> all;
  for (const auto& [name, linear] : model.bit_linears()) {
    const auto ternary = ops::ternarize(linear->weight);
    const auto codes = ternary.codes.to(torch::kChar);
    const double count = double(codes.numel()), scale = ternary.scale.item<double>();
    const size_t i = all.size();
    double flips = std::numeric_limits<double>::quiet_NaN();
    if (i < codes_.size()) {
      flips = codes.ne(codes_[i]).sum().item<double>() / count;
      codes_[i] = codes;
    } else {
      codes_.push_back(codes);
      first_scale_.push_back(scale);
    }
    all.push_back({name, codes.eq(0).sum().item<double>() / count, flips, scale,
                   scale / first_scale_[i] - 1});
  }
  return all;
}

}  // namespace wf
