#include "gguf/gguf_import.h"

#include "base/error.h"
#include "gguf/gguf_keys.h"
#include "gguf/gguf_matrix.h"
#include "shape/hf_config.h"
#include "shape/model_folder.h"
#include "ternary/absmean.h"
#include "ternary/packed_codes.h"

namespace wf {
namespace {

// From the file's order of rows to Hugging Face's.
template <class T>
std::vector<T> restore_rows(std::vector<T> rows, const GgufGraph& graph, const ModelTensor& tensor,
                            int64_t head_dim) {
  if (!graph.interleaved_rope || tensor.heads == 0) return rows;
  std::vector<T> out(rows.size());
  const bool vector = tensor.kind == TensorKind::kVector;
  const int64_t count = vector ? tensor.columns : tensor.rows, size = int64_t(rows.size()) / count;
  for (int64_t row = 0; row < count; ++row)
    std::copy_n(rows.begin() + row * size, size,
                out.begin() + interleaved_source(row, head_dim) * size);
  return out;
}

nlohmann::json source_config(const DecoderConfig& c, const GgufMetadata& keys) {
  nlohmann::json config = {{"model_type", c.sub_norm                ? "bitnet"
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
                           {"hidden_act", c.activation == Activation::kSilu ? "silu" : "relu2"},
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
  const Gguf file(gguf);
  const DecoderConfig c = read_model_keys(file);
  const GgufGraph& graph = graph_of(file, c);
  KernelConfig kernels = kernels_beside(gguf);
  const bool biased = c.qkv_bias || c.o_bias || c.mlp_bias;
  bool all_packed = !biased, any_ternary = false, all_ternary = true;
  const auto tensors = model_tensors(c);
  for (const auto& tensor : tensors)
    if (tensor.kind == TensorKind::kMatrix) all_packed &= tensor.rows % 4 == 0;

  std::vector<WritableTensor> weights;
  const auto add = [&]<class T>(const std::string& name, Dtype dtype, std::vector<int64_t> shape,
                                std::vector<T> values) {
    weights.push_back(writable(name, in_memory(dtype, std::move(shape), std::move(values))));
  };
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    progress("reading", double(i) / double(tensors.size()));
    const ModelTensor& tensor = tensors[i];
    const GgufTensor& stored = file.tensor(tensor.gguf_name);
    if (stored.rows() != uint64_t(tensor.rows) || stored.row_elements() != uint64_t(tensor.columns))
      fail("{}: tensor '{}' has {} rows of {}, its metadata asks for {} of {}", gguf.string(),
           stored.name, stored.rows(), stored.row_elements(), tensor.rows, tensor.columns);
    const auto add_floats = [&] {
      const std::vector<int64_t> shape = tensor.kind == TensorKind::kVector
                                             ? std::vector{tensor.columns}
                                             : std::vector{tensor.rows, tensor.columns};
      add(tensor.hf_name, Dtype::kF32, shape,
          restore_rows(read_gguf_floats(file, stored), graph, tensor, c.head_dim));
    };
    if (tensor.kind != TensorKind::kMatrix) {
      add_floats();
      continue;
    }
    GgufMatrix matrix = read_gguf_matrix(file, stored, kernels);
    if (!matrix.problem.empty()) {
      all_ternary = false;
      add_floats();
      continue;
    }
    any_ternary = true;
    const auto codes = restore_rows(std::move(matrix.codes), graph, tensor, c.head_dim);
    if (all_packed) {
      add(tensor.hf_name, Dtype::kU8, {tensor.rows / 4, tensor.columns},
          pack_codes(codes, tensor.rows, tensor.columns));
      add(tensor.hf_name + "_scale", Dtype::kF32, {1}, std::vector{matrix.scale});
    } else {
      std::vector<float> master(codes.begin(), codes.end());
      master_from_codes(master, matrix.scale);
      add(tensor.hf_name, Dtype::kF32, {tensor.rows, tensor.columns}, std::move(master));
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
