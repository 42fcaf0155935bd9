#include "exporter/gguf_import.h"

#include <torch/torch.h>

#include "base/error.h"
#include "exporter/exporter.h"
#include "exporter/gguf_keys.h"
#include "exporter/gguf_matrix.h"
#include "model/hf_config.h"
#include "model/packed_codes.h"
#include "ops/ternary.h"

namespace wf {
namespace {

using torch::Tensor;

// From the file's order of rows to Hugging Face's.
Tensor restore_rows(Tensor rows, const GgufGraph& graph, const ModelTensor& tensor,
                    int64_t head_dim) {
  if (!graph.interleaved_rope || tensor.heads == 0) return rows;
  const auto shape = rows.sizes().vec();
  return rows.view({tensor.heads, head_dim / 2, 2, -1}).transpose(1, 2).reshape(shape);
}

Tensor read_floats(const Gguf& file, const GgufTensor& tensor, const ModelTensor& as) {
  const auto values = read_gguf_floats(file, tensor);
  const Tensor flat = torch::tensor(values);
  return as.kind == TensorKind::kVector ? flat : flat.view({as.rows, as.columns});
}

nlohmann::json source_config(const DecoderConfig& c, const GgufMetadata& keys) {
  nlohmann::json config = {
      {"model_type", c.sub_norm                ? "bitnet"
                     : c.qk_norm               ? "qwen3"
                     : c.qkv_bias && !c.o_bias ? "qwen2"
                                               : "llama"},
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.hidden_size},
      {"intermediate_size", c.intermediate_size},
      {"num_hidden_layers", c.num_layers},
      {"num_attention_heads", c.num_heads},
      {"num_key_value_heads", c.num_kv_heads},
      {"head_dim", c.head_dim},
      {"max_position_embeddings", c.max_positions},
      {"rms_norm_eps", c.rms_norm_eps},
      {"hidden_act", c.activation == ops::Activation::kSilu ? "silu" : "relu2"},
      {"attention_bias", c.o_bias},
      {"mlp_bias", c.mlp_bias},
      {"tie_word_embeddings", c.tied_head}};
  const std::string type = config["model_type"];
  const char* prefix = type == "llama" ? "Llama" : type == "qwen2" ? "Qwen2" : "Qwen3";
  config["architectures"] = {type == "bitnet" ? "BitNetForCausalLM"
                                              : std::string(prefix) + "ForCausalLM"};
  for (const char* token : {"bos", "eos"})
    if (const auto* id = keys.get<uint32_t>(fmt::format("tokenizer.ggml.{}_token_id", token)))
      config[fmt::format("{}_token_id", token)] = *id;
  return config;
}

}  // namespace

void import_gguf(const std::filesystem::path& gguf, const std::filesystem::path& folder,
                 const std::filesystem::path& companions_from, const ShowProgress& progress) {
  const torch::NoGradGuard no_grad;
  const Gguf file(gguf);
  const DecoderConfig c = read_model_keys(file);
  const GgufGraph& graph = graph_of(file, c);
  KernelConfig kernels = kernels_beside(gguf);
  const bool biased = c.qkv_bias || c.o_bias || c.mlp_bias;
  bool all_packed = !biased, any_ternary = false, all_ternary = true;
  const auto tensors = model_tensors(c);
  for (const auto& tensor : tensors)
    if (tensor.kind == TensorKind::kMatrix) all_packed &= tensor.rows % 4 == 0;

  std::vector<NamedTensor> weights;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    progress("reading", double(i) / double(tensors.size()));
    const ModelTensor& tensor = tensors[i];
    const GgufTensor& stored = file.tensor(tensor.gguf_name);
    if (stored.rows() != uint64_t(tensor.rows) || stored.row_elements() != uint64_t(tensor.columns))
      fail("{}: tensor '{}' has {} rows of {}, its metadata asks for {} of {}", gguf.string(),
           stored.name, stored.rows(), stored.row_elements(), tensor.rows, tensor.columns);
    if (tensor.kind != TensorKind::kMatrix) {
      weights.push_back({tensor.hf_name, restore_rows(read_floats(file, stored, tensor), graph,
                                                      tensor, c.head_dim)});
      continue;
    }
    GgufMatrix matrix = read_gguf_matrix(file, stored, kernels);
    if (!matrix.problem.empty()) {
      all_ternary = false;
      weights.push_back({tensor.hf_name, restore_rows(read_floats(file, stored, tensor), graph,
                                                      tensor, c.head_dim)});
      continue;
    }
    any_ternary = true;
    Tensor codes =
        torch::from_blob(matrix.codes.data(), {tensor.rows, tensor.columns}, torch::kChar)
            .to(torch::kFloat);
    codes = restore_rows(codes, graph, tensor, c.head_dim).contiguous();
    const Tensor scale = torch::scalar_tensor(matrix.scale);
    if (all_packed) {
      weights.push_back({tensor.hf_name, pack_codes(codes)});
      weights.push_back({tensor.hf_name + "_scale", scale.reshape({1})});
    } else {
      ops::master_from_codes_(codes, scale);
      weights.push_back({tensor.hf_name, codes});
    }
  }
  if (any_ternary && !all_ternary)
    fail("{}: some block matrices are ternary and some are not, which no model folder can say",
         gguf.string());
  const Quantization quantization = !any_ternary ? Quantization::kNone
                                    : all_packed ? Quantization::kPacked
                                                 : Quantization::kOnline;
  write_model_folder(
      folder, weights,
      hf_config(c, source_config(c, file.metadata()), quantization, any_ternary, any_ternary),
      companions_from.empty() ? gguf.parent_path() / "no companions" : companions_from);
}

}  // namespace wf
