#include "train/layer_statistics.h"

#include <torch/torch.h>

#include "ops/ternary.h"

namespace wf {

using torch::Tensor;

namespace {

constexpr int64_t kCodesPerByte = 4;

// Code i + 1 of each four in bits 2·i and 2·i + 1; zeros fill the last byte up.
Tensor pack(const Tensor& codes) {
  const Tensor flat = codes.flatten().to(torch::kByte).add_(1);  // −1 is 255 and wraps
  const int64_t missing = (kCodesPerByte - flat.numel() % kCodesPerByte) % kCodesPerByte;
  const Tensor fours = at::constant_pad_nd(flat, {0, missing}, 1).view({-1, kCodesPerByte});
  Tensor packed = fours.select(1, 0).clone();
  for (int64_t i = 1; i < kCodesPerByte; ++i)
    packed.bitwise_or_(fours.select(1, i).bitwise_left_shift(2 * i));
  return packed;
}

// How many codes differ.
double differences(const Tensor& a, const Tensor& b) {
  const Tensor changed = a.bitwise_xor(b);
  Tensor sum = torch::zeros({}, torch::dtype(torch::kLong).device(a.device()));
  for (int64_t i = 0; i < kCodesPerByte; ++i) sum += changed.bitwise_and(3 << 2 * i).ne(0).sum();
  return sum.item<double>();
}

}  // namespace

LayerWatch::LayerWatch(const Decoder& model) {
  std::vector<double> scales;
  for (const auto& [name, linear] : model.bit_linears()) {
    const Tensor weight = linear->weight.detach();
    const ops::Ternary ternary = ops::ternarize(weight);
    layers_.push_back({name, weight, pack(ternary.codes.to(torch::kChar))});
    scales.push_back(ternary.scale.item<double>());
  }
  first_scales_ = torch::tensor(scales, torch::kDouble);
}

std::vector<LayerStatistics> LayerWatch::look() {
  std::vector<LayerStatistics> all;
  for (Layer& layer : layers_) {
    const ops::Ternary ternary = ops::ternarize(layer.weight);
    const Tensor codes = ternary.codes.to(torch::kChar);
    const Tensor packed = pack(codes);
    const double count = double(codes.numel());
    const double scale = ternary.scale.item<double>(),
                 first = first_scales_.const_data_ptr<double>()[all.size()];
    all.push_back({.name = layer.name,
                   .zero_fraction = codes.eq(0).sum().item<double>() / count,
                   .flip_rate = differences(packed, layer.codes) / count,
                   .scale = scale,
                   .scale_drift = scale / first - 1});
    layer.codes = packed;
  }
  return all;
}

void LayerWatch::state(StateVisitor& visit) { visit("layers.first_scales", first_scales_); }

}  // namespace wf
