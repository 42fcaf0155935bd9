#include "gguf/gguf_graph.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace wf {
namespace {

constexpr auto kSilu = Activation::kSilu, kRelu2 = Activation::kRelu2;
constexpr bool o = false, x = true;  // read the table as a table

// Read from the engines' sources (llama.cpp 0.5.0; the forks of October 2024 and July 2026).
// qwen2 in llama.cpp loads the `.scale` of its feed-forward matrices and then ignores it.
// The fork of 2026 computes silu under both names for now; relu2 models keep the name that says so.
// clang-format off
constexpr std::array kGraphs = {
    //                                                       sub qk   un-   bias:      rope:      wide  inter- reads
    //                                                       norms    tied  qkv o mlp  lin llama3 heads leaved .scale
    GgufGraph{Engine::kLlamaCpp, "bitnet", kSilu,            x, o,    o,    o,  o, o,  o,  o,     o,    o,     x},
    GgufGraph{Engine::kLlamaCpp, "llama", kSilu,             o, o,    x,    x,  x, x,  x,  x,     x,    x,     x},
    GgufGraph{Engine::kLlamaCpp, "qwen2", kSilu,             o, o,    x,    x,  o, o,  x,  o,     o,    o,     o},
    GgufGraph{Engine::kLlamaCpp, "qwen3", kSilu,             o, x,    x,    x,  o, o,  x,  o,     x,    o,     x},
    GgufGraph{Engine::kMicrosoft2024, "bitnet", kSilu,       x, o,    o,    o,  o, o,  o,  o,     o,    o,     x},
    GgufGraph{Engine::kMicrosoft2024, "bitnet-b1.58", kRelu2, x, o,   o,    o,  o, o,  o,  o,     x,    o,     o},
    GgufGraph{Engine::kMicrosoft2024, "bitnet-25", kRelu2,   x, o,    o,    o,  o, o,  o,  o,     x,    o,     o},
    GgufGraph{Engine::kMicrosoft2024, "llama", kSilu,        o, o,    x,    x,  x, x,  x,  x,     x,    x,     o},
    GgufGraph{Engine::kMicrosoft2024, "qwen2", kSilu,        o, o,    x,    x,  o, o,  x,  o,     o,    o,     o},
    GgufGraph{Engine::kMicrosoft2026, "bitnet", kSilu,       x, o,    o,    o,  o, o,  o,  o,     o,    o,     o},
    GgufGraph{Engine::kMicrosoft2026, "bitnet-b1.58", kRelu2, x, o,   o,    o,  o, o,  o,  o,     o,    o,     o},
    GgufGraph{Engine::kMicrosoft2026, "llama", kSilu,        o, o,    x,    x,  x, x,  x,  x,     x,    x,     o},
    GgufGraph{Engine::kMicrosoft2026, "qwen2", kSilu,        o, o,    x,    x,  o, o,  x,  o,     o,    o,     o},
    GgufGraph{Engine::kMicrosoft2026, "qwen3", kSilu,        o, x,    x,    x,  o, o,  x,  o,     x,    o,     o},
};
// clang-format on

// The architecture that a model's shape asks for.
std::string_view natural_arch(const DecoderConfig& c, Engine engine) {
  if (c.sub_norm)
    return c.activation == kRelu2 && engine != Engine::kLlamaCpp ? "bitnet-b1.58" : "bitnet";
  if (c.qk_norm) return "qwen3";
  return c.qkv_bias && !c.o_bias ? "qwen2" : "llama";
}

}  // namespace

std::string_view engine_name(Engine engine) {
  for (const auto& [name, value] : config::names<Engine>)
    if (value == engine) return name;
  return "?";
}

const GgufGraph& choose_graph(const DecoderConfig& config, Engine engine, std::string_view arch) {
  const std::string_view wanted = arch.empty() ? natural_arch(config, engine) : arch;
  std::vector<std::string_view> known;
  for (const GgufGraph& graph : kGraphs) {
    if (graph.engine != engine) continue;
    if (graph.arch == wanted) return graph;
    known.push_back(graph.arch);
  }
  fail("{} has no architecture '{}' for this model; it has {}", engine_name(engine), wanted,
       fmt::join(known, ", "));
}

std::vector<std::string> graph_problems(const DecoderConfig& c, const GgufGraph& graph) {
  std::vector<std::string> problems;
  const std::string name = fmt::format("the {} graph", graph.arch);
  const auto add = [&](std::string problem) { problems.push_back(std::move(problem)); };
  const char* without = graph.sub_norm ? ", or insert no SubLN (insert.sub_norms=none)" : "";
  if (c.sub_norm && c.qk_norm)
    add(fmt::format("no graph has both SubLN and q/k-norm: start from a model without q/k-norm{}",
                    without));
  else if (c.qk_norm != graph.qk_norm)
    add(fmt::format("{} {} q/k-norm: let the architecture follow from the model (no --arch)", name,
                    graph.qk_norm ? "needs" : "has no"));
  if (c.sub_norm != graph.sub_norm)
    add(fmt::format("{} {} sub-norms: let the architecture follow from the model (no --arch)", name,
                    graph.sub_norm ? "needs" : "has no"));
  if (c.activation != graph.activation) {
    if (graph.engine == Engine::kLlamaCpp)
      add("llama.cpp's graphs have silu, not relu2: use Microsoft's engine (--engine "
          "microsoft-2024, target=microsoft), or a silu model");
    else
      add(
          fmt::format("{} computes {}: let the architecture follow from the model (no --arch), or "
                      "train the activation that it has",
                      name, graph.activation == kSilu ? "silu, not relu2" : "relu2, not silu"));
  }
  if ((c.qkv_bias && !graph.qkv_bias) || (c.o_bias && !graph.o_bias) ||
      (c.mlp_bias && !graph.mlp_bias))
    add(fmt::format("{} has no biases{}: start from a model without them{}", name,
                    graph.qkv_bias ? " but those of q, k and v" : "", without));
  if (!c.tied_head && !graph.untied_head)
    add(fmt::format("{} takes the embedding as the head: train with tie_word_embeddings true{}",
                    name, without));
  if (c.rope_scaling) {
    const bool linear = c.rope_scaling->kind == RopeScaling::Kind::kLinear;
    if (linear ? !graph.linear_rope : !graph.llama3_rope)
      add(fmt::format("{} has no rope scaling of kind {}: start from a model without it{}", name,
                      linear ? "linear" : "llama3", without));
  }
  if (c.num_heads * c.head_dim != c.hidden_size && !graph.wide_heads)
    add(
        fmt::format("{} needs heads x head_dim = hidden_size, here {} x {} and {}: start from "
                    "another model{}",
                    name, c.num_heads, c.head_dim, c.hidden_size, without));
  return problems;
}

bool engine_reads(Engine engine, GgufType type) {
  switch (type) {
    case GgufType::kQ2_0:
      return engine == Engine::kLlamaCpp;
    case GgufType::kI2_S:
      return engine != Engine::kLlamaCpp;
    case GgufType::kTL1:
    case GgufType::kTL2:
      return engine == Engine::kMicrosoft2024;
    default:
      return true;
  }
}

}  // namespace wf
