#include "train/target.h"

#include <fmt/ranges.h>

#include <array>

#include "base/error.h"

namespace wf {

namespace {

std::string target_name(Target target) {
  for (const auto& [name, value] : config::names<Target>)
    if (value == target) return std::string(name);
  return "?";
}

// The only graph with sub-norms that both llama.cpp and Microsoft's engine share, `bitnet`.
void bitnet_graph(const DecoderConfig& c, std::vector<std::string>& problems) {
  const char* without = "or insert no SubLN (insert.sub_norms=none)";
  if (c.qk_norm)
    problems.push_back(fmt::format(
        "no graph has both SubLN and q/k-norm: start from a model without q/k-norm, {}", without));
  if (c.qkv_bias || c.o_bias || c.mlp_bias)
    problems.push_back(fmt::format(
        "the bitnet graph has no biases: start from a model without them, {}", without));
  if (!c.tied_head)
    problems.push_back(
        "the bitnet graph takes the embedding as the head: train with tie_word_embeddings true");
  if (c.rope_scaling)
    problems.push_back(fmt::format(
        "the bitnet graph has no rope scaling: start from a model without it, {}", without));
  if (c.num_heads * c.head_dim != c.hidden_size)
    problems.push_back(
        fmt::format("the bitnet graph needs heads x head_dim = hidden_size, here {} x {} and {}: "
                    "start from another model, {}",
                    c.num_heads, c.head_dim, c.hidden_size, without));
}

void divisible(const DecoderConfig& c, int64_t block, const char* type,
               std::vector<std::string>& problems) {
  for (const int64_t k : {c.hidden_size, c.num_heads * c.head_dim, c.intermediate_size})
    if (k % block)
      problems.push_back(fmt::format(
          "{} stores blocks of {} weights and {} inputs of a matrix do not divide: only a "
          "lossless wider type (f16, q8_0) is left for it",
          type, block, k));
}

}  // namespace

std::vector<std::string> target_problems(const DecoderConfig& c, Target target) {
  std::vector<std::string> problems;
  if (target == Target::kNone || target == Target::kTransformers) return problems;
  if (c.sub_norm) bitnet_graph(c, problems);
  if (target == Target::kLlamaCpp) {
    if (c.activation != ops::Activation::kSilu)
      problems.push_back(
          "llama.cpp's graphs have silu, not relu2: use target=microsoft, or a silu model");
    divisible(c, 64, "q2_0", problems);
  } else {
    divisible(c, 128, "i2_s", problems);
  }
  return problems;
}

void require_target(const DecoderConfig& config, Target target) {
  const auto problems = target_problems(config, target);
  if (!problems.empty())
    fail("target {} cannot load this model:\n  {}", target_name(target),
         fmt::join(problems, "\n  "));
}

}  // namespace wf
