// A decoder's shape as GGUF metadata, and back.
#pragma once
#include <string>

#include "gguf/gguf.h"
#include "gguf/gguf_graph.h"
#include "shape/decoder_config.h"

namespace wf {

// general.* and <arch>.*; `file_type` follows from the type that most matrices have.
void write_model_keys(const DecoderConfig& config, const GgufGraph& graph, const std::string& name,
                      GgufType outtype, GgufMetadata& metadata);

// The shape that a file describes; its tensors say which biases, norms and heads there are. Throws
// Error for an architecture that is not one of ours.
DecoderConfig read_model_keys(const Gguf& file);

// The row of the table that a file was written for.
const GgufGraph& graph_of(const Gguf& file, const DecoderConfig& config);

// rope_freqs.weight: what llama divides each pair's frequency by (Llama 3.1's rescaling).
inline constexpr const char* kRopeFactors = "rope_freqs.weight";
std::vector<float> rope_factors(const DecoderConfig& config);

}  // namespace wf
