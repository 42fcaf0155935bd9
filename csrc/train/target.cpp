#include "train/target.h"

#include <fmt/ranges.h>

#include <set>

#include "base/error.h"
#include "gguf/gguf_graph.h"

namespace wf {

namespace {

std::string target_name(Target target) {
  for (const auto& [name, value] : config::names<Target>)
    if (value == target) return std::string(name);
  return "?";
}

void divisible(const DecoderConfig& c, int64_t block, const char* type,
               std::vector<std::string>& problems) {
  // One sentence a width.
  for (const int64_t k : std::set{c.hidden_size, c.num_heads * c.head_dim, c.intermediate_size})
    if (k % block)
      problems.push_back(fmt::format(
          "{} stores blocks of {} weights, which do not divide a matrix of {} inputs: start from "
          "another model, or with target=none take a wider type for it (wfconvert does by itself)",
          type, block, k));
}

}  // namespace

std::vector<std::string> target_problems(const DecoderConfig& c, Target target) {
  std::vector<std::string> problems;
  if (target == Target::kNone || target == Target::kTransformers) return problems;
  const Engine engine = target == Target::kLlamaCpp ? Engine::kLlamaCpp : Engine::kMicrosoft2024;
  problems = graph_problems(c, choose_graph(c, engine));
  if (target == Target::kLlamaCpp)
    divisible(c, 64, "q2_0", problems);
  else
    divisible(c, 128, "i2_s", problems);
  return problems;
}

void require_target(const DecoderConfig& config, Target target) {
  const auto problems = target_problems(config, target);
  if (!problems.empty())
    fail("target {} cannot load this model:\n  {}", target_name(target),
         fmt::join(problems, "\n  "));
}

}  // namespace wf
