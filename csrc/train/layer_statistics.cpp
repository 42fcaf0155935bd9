#include "train/layer_statistics.h"

#include <torch/torch.h>

#include "ops/ternary.h"

namespace wf {

using torch::Tensor;

LayerWatch::LayerWatch(const Decoder& model) {
  std::vector<double> scales;
  for (const auto& [name, linear] : model.bit_linears()) {
    const Tensor weight = linear->weight.detach();
    const ops::Ternary ternary = ops::ternarize(weight);
    layers_.push_back({name, weight, ternary.codes.to(torch::kChar)});
    scales.push_back(ternary.scale.item<double>());
  }
  first_scales_ = torch::tensor(scales, torch::kDouble);
}

std::vector<LayerStatistics> LayerWatch::look() {
  std::vector<LayerStatistics> all;
  for (Layer& layer : layers_) {
    const ops::Ternary ternary = ops::ternarize(layer.weight);
    const Tensor codes = ternary.codes.to(torch::kChar);
    const auto share = [&](const Tensor& which) {
      return which.sum().item<double>() / double(codes.numel());
    };
    const double scale = ternary.scale.item<double>(),
                 first = first_scales_.const_data_ptr<double>()[all.size()];
    all.push_back({.name = layer.name,
                   .zero_fraction = share(codes.eq(0)),
                   .flip_rate = share(codes.ne(layer.codes)),
                   .scale = scale,
                   .scale_drift = scale / first - 1});
    layer.codes = codes;
  }
  return all;
}

void LayerWatch::state(StateVisitor& visit) { visit("layers.first_scales", first_scales_); }

}  // namespace wf
