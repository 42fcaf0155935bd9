// What the engines compute: one row per architecture that a model of ours can be written as. The
// converter chooses by this table, and training refuses by it what no row can hold.
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "config/codec.h"
#include "gguf/gguf_type.h"
#include "shape/decoder_config.h"

namespace wf {

// llama.cpp itself; Microsoft's fork as of October 2024 to December 2025; the one since 2026.
enum class Engine { kLlamaCpp, kMicrosoft2024, kMicrosoft2026 };
template <>
inline constexpr auto config::names<Engine> =
    std::array{std::pair{std::string_view("llama.cpp"), Engine::kLlamaCpp},
               std::pair{std::string_view("microsoft-2024"), Engine::kMicrosoft2024},
               std::pair{std::string_view("microsoft-2026"), Engine::kMicrosoft2026}};
std::string_view engine_name(Engine engine);

struct GgufGraph {
  Engine engine;
  std::string_view arch;  // general.architecture
  Activation activation;
  bool sub_norm, qk_norm;           // has them, and wants them
  bool untied_head;                 // may have an output.weight
  bool qkv_bias, o_bias, mlp_bias;  // may have them
  bool linear_rope, llama3_rope;    // may scale its frequencies
  bool wide_heads;                  // heads·head_dim may differ from the hidden size
  bool interleaved_rope;            // rotates (2i, 2i+1): rows of q and k are reordered for it
  bool reads_scale;                 // multiplies a matmul by its `.scale` tensor
};

// The row for this model: `arch`, or the one its shape asks for. Throws Error for an architecture
// that the engine does not have.
const GgufGraph& choose_graph(const DecoderConfig& config, Engine engine,
                              std::string_view arch = "");

// Sentences saying why `graph` cannot compute this model, each with the way out; empty when it can.
std::vector<std::string> graph_problems(const DecoderConfig& config, const GgufGraph& graph);

// Whether the engine decodes matrices of this type.
bool engine_reads(Engine engine, GgufType type);

}  // namespace wf
