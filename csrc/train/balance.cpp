#include "train/balance.h"

#include <torch/torch.h>

#include <cmath>

#include "base/log.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "parallel/buckets.h"

namespace wf {

using torch::Tensor;

namespace {

constexpr double kSpread = 0.02;
constexpr double kRate = 0.05;
constexpr int kUpdatesPerBatch = 4;

// The channels before one sub-norm.
struct Channels {
  Parameter log_scale;  // [channels of the matrix that makes them] fp32
  int64_t heads;        // v's channels are read by this many query heads each; 1 for down_proj
  int64_t head_dim;     // channels that stay together when heads repeat

  // The scale of each channel that enters the norm. Query heads of a group are neighbours.
  Tensor scale() const {
    return log_scale.value.detach()
        .exp()
        .view({-1, 1, head_dim})
        .expand({-1, heads, -1})
        .reshape(-1);
  }

  // Of rows x [N, width]: x², summed over the query heads that share a scale; [N, channels] fp32.
  Tensor squares(const Tensor& x) const {
    return x.to(torch::kFloat).square_().view({x.size(0), -1, heads, head_dim}).sum(2).flatten(1);
  }

  // Variance over the rows of log mean (a·x)², of squares [N, channels].
  Tensor variance(const Tensor& squares, double eps) const {
    const Tensor sum = squares.mv((2 * log_scale.value).exp());
    return (sum / double(heads * squares.size(1)) + eps).log().var();
  }
};

Channels make_channels(const char* name, int64_t count, int64_t heads, int64_t head_dim,
                       torch::Device device) {
  Tensor value = torch::zeros({count}, torch::dtype(torch::kFloat).device(device));
  return {{name, value.set_requires_grad(true), Role::kNorm}, heads, head_dim};
}

// Scales what `linear` puts out.
void scale_outputs(BitLinear& linear, const Channels& channels) {
  const Tensor scale = channels.log_scale.value.exp();
  linear.weight.mul_(scale.unsqueeze(1));
  if (linear.bias.defined()) linear.bias.mul_(scale);
}

}  // namespace

ChannelScales ChannelScales::ones(const Decoder& model) {
  const DecoderConfig& c = model.config();
  const auto options = torch::dtype(torch::kFloat).device(model.device());
  const auto layers = size_t(c.num_layers);
  return {{layers, torch::ones({c.num_heads * c.head_dim}, options)},
          {layers, torch::ones({c.intermediate_size}, options)}};
}

ChannelScales balance_channels(Decoder& student, Decoder& original, DataSource& data, int64_t steps,
                               ParallelContext& parallel) {
  const DecoderConfig& c = student.config();
  const torch::Device device = student.device();
  Pass pass{.taps = {}, .weight_quant = 0, .activation_quant = 0};
  std::vector<Channels> all;  // attention's and the feed-forward's of every block
  std::vector<Parameter> log_scales;
  for (int64_t i = 0; i < c.num_layers; ++i) {
    pass.taps.blocks.push_back(i);
    all.push_back(make_channels("v_proj", c.num_kv_heads * c.head_dim, c.num_heads / c.num_kv_heads,
                                c.head_dim, device));
    all.push_back(make_channels("up_proj", c.intermediate_size, 1, c.intermediate_size, device));
  }
  for (const Channels& channels : all) log_scales.push_back(channels.log_scale);
  AdamW optimizer(AdamW::Config{}, log_scales);
  const Schedule schedule{.kind = Schedule::Kind::kCosine, .value = kRate, .final = 0.0};

  Tensor before, after;  // Σ of the variances
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<Tensor> squares;
    {
      const torch::NoGradGuard no_grad;
      const Trace trace = original.forward(data.next().to(device), pass);
      for (size_t i = 0; i < all.size(); ++i) {
        const BlockTap& tap = trace.blocks[i / 2];
        squares.push_back(all[i].squares(i % 2 ? tap.down_input : tap.o_input));
      }
    }
    for (int k = 0; k < kUpdatesPerBatch; ++k) {
      Tensor variance = torch::zeros({}, torch::dtype(torch::kFloat).device(device)),
             spread = variance;
      for (size_t i = 0; i < all.size(); ++i) {
        variance = variance + all[i].variance(squares[i], c.rms_norm_eps);
        spread = spread + all[i].log_scale.value.square().mean();
      }
      (variance + kSpread * spread).backward();
      std::vector<Tensor> gradients;
      for (const auto& parameter : log_scales) gradients.push_back(parameter.value.grad());
      all_reduce_gradients(parallel, gradients);
      optimizer.step(schedule.at(step, steps), {});
      for (const auto& parameter : log_scales) parameter.value.mutable_grad().reset();
      after = variance.detach();
      if (!before.defined()) before = after;
    }
  }

  const torch::NoGradGuard no_grad;
  ChannelScales scales;
  for (size_t i = 0; i < all.size(); ++i) {
    Block& block = *student.blocks()[i / 2];
    scale_outputs(i % 2 ? *block.mlp->up_proj : *block.self_attn->v_proj, all[i]);
    (i % 2 ? scales.down_input : scales.o_input).push_back(all[i].scale());
  }
  // Of log x², so half of it is of log |x|.
  const auto percent = [&](const Tensor& sum) {
    return 50 * std::sqrt(sum.item<double>() / double(all.size()));
  };
  log::say(
      "channels balanced: rows before a sub-norm vary in length by {:.0f} %, before by {:.0f} %",
      percent(after), percent(before));
  return scales;
}

}  // namespace wf
