#include "gguf/gguf_import.h"

#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
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
  const auto tensors = model_tensors(c);

  std::set<std::string> places;
  for (const ModelTensor& tensor : tensors) {
    places.insert(tensor.gguf_name);
    if (tensor.kind == TensorKind::kMatrix) places.insert(tensor.scale_name());
  }
  for (const GgufTensor& tensor : file.tensors())
    if (!places.contains(tensor.name))
      fail("{}: holds tensor '{}', which has no place in a model folder of architecture {}",
           gguf.string(), tensor.name, graph.arch);

  // Once over the matrices for their scales; what is written is read when its bytes are due.
  bool all_packed = !(c.qkv_bias || c.o_bias || c.mlp_bias);
  bool coded = false;
  std::string latent;  // the first that is not ternary, and why
  std::map<std::string, float> scales;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    progress("reading", double(i) / double(tensors.size()));
    const ModelTensor& tensor = tensors[i];
    const GgufTensor& stored = file.tensor(tensor.gguf_name);
    if (stored.rows() != uint64_t(tensor.rows) || stored.row_elements() != uint64_t(tensor.columns))
      fail("{}: tensor '{}' has {} rows of {}, its metadata asks for {} of {}", gguf.string(),
           stored.name, stored.rows(), stored.row_elements(), tensor.rows, tensor.columns);
    if (tensor.kind != TensorKind::kMatrix) continue;
    all_packed &= tensor.rows % 4 == 0;
    const GgufMatrix matrix = read_gguf_matrix(file, stored, kernels);
    scales[tensor.gguf_name] = matrix.scale;
    if (latent.empty() && !matrix.problem.empty())
      latent = fmt::format("'{}': {}", tensor.gguf_name, matrix.problem);
    coded |= matrix.problem.empty() && matrix.zeros < tensor.rows * tensor.columns;
    release_pages(file.bytes(stored));
  }
  const bool ternary = latent.empty();
  if (coded && !ternary)  // zeros alone are either
    fail("{}: some block matrices are ternary and some are not, which no model folder can say ({})",
         gguf.string(), latent);

  std::vector<WritableTensor> weights;
  const auto add = [&](const ModelTensor& tensor, std::string name, Dtype dtype,
                       std::vector<int64_t> shape, auto read) {
    const auto value = [&, dtype, shape, read, at = weights.size()] {
      progress("writing", double(at) / double(weights.size()));
      const GgufTensor& stored = file.tensor(tensor.gguf_name);
      const StoredTensor read_now = in_memory(dtype, shape, read(stored));
      release_pages(file.bytes(stored));
      return read_now;
    };
    weights.push_back({std::move(name), dtype, shape, value});
  };
  for (const ModelTensor& tensor : tensors) {
    std::vector<int64_t> shape = {tensor.rows, tensor.columns};
    if (tensor.kind == TensorKind::kVector) shape.erase(shape.begin());
    const auto codes = [&](const GgufTensor& stored) {
      return restore_rows(read_gguf_matrix(file, stored, kernels).codes, graph, tensor, c.head_dim);
    };
    if (!ternary || tensor.kind != TensorKind::kMatrix) {
      add(tensor, tensor.hf_name, Dtype::kF32, shape, [&](const GgufTensor& stored) {
        return restore_rows(read_gguf_floats(file, stored), graph, tensor, c.head_dim);
      });
    } else if (all_packed) {
      add(tensor, tensor.hf_name, Dtype::kU8, {tensor.rows / 4, tensor.columns},
          [&, codes](const GgufTensor& stored) {
            return pack_codes(codes(stored), tensor.rows, tensor.columns);
          });
      weights.push_back(
          writable(tensor.hf_name + "_scale",
                   in_memory(Dtype::kF32, {1}, std::vector{scales.at(tensor.gguf_name)})));
    } else {
      add(tensor, tensor.hf_name, Dtype::kF32, shape, [&, codes](const GgufTensor& stored) {
        const auto signs = codes(stored);
        std::vector<float> master(signs.begin(), signs.end());
        master_from_codes(master, scales.at(tensor.gguf_name));
        return master;
      });
    }
  }
  const Quantization quantization = !ternary     ? Quantization::kNone
                                    : all_packed ? Quantization::kPacked
                                                 : Quantization::kOnline;
  write_model_folder(
      folder, weights,
      hf_config(c, source_config(c, file.metadata()), quantization, ternary, ternary),
      companions_from.empty() ? gguf.parent_path() / "no companions" : companions_from);
}

}  // namespace wf
