// Scales for the channels that a freshly inserted sub-norm reads.
#pragma once
#include <torch/types.h>

#include <vector>

#include "data/source.h"
#include "nn/decoder.h"
#include "parallel/context.h"

namespace wf {

// One factor for every channel that enters o_proj and down_proj, by block.
struct ChannelScales {
  std::vector<torch::Tensor> o_input;     // [heads·head_dim] fp32
  std::vector<torch::Tensor> down_input;  // [F]

  static ChannelScales ones(const Decoder& model);
};

// A sub-norm divides a row by its length, which no gain gives back. But the row may be scaled
// channel by channel before: row i of v_proj times a_i with column i of o_proj divided by it is the
// same function (up_proj and down_proj likewise), and only what the norm divides by changes. The
// scales are those for which the length varies least from token to token:
//   minimise Σ_norms  Var_tokens[ log mean_i (a_i·x_i)² ] + kSpread · mean_i (log a_i)²,
// x being what `original` feeds o_proj and down_proj on the next `steps` batches of `data`, by a
// few updates of AdamW for each. They are multiplied into the student's v_proj and up_proj; 1/a is
// left to the gains of the sub-norms, which fit_gains finds. Tells what it came to.
ChannelScales balance_channels(Decoder& student, Decoder& original, DataSource& data, int64_t steps,
                               ParallelContext& parallel);

}  // namespace wf
