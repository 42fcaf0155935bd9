// The tensors of a decoder: what each is called here and in GGUF files, and its shape.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "shape/decoder_config.h"

namespace wf {

enum class TensorKind {
  kEmbedding,  // token_embd, output
  kMatrix,     // the block matrices: ternary, unless the model is full precision
  kVector,     // norms, biases: always F32
};

struct ModelTensor {
  std::string hf_name, gguf_name;
  TensorKind kind;
  int64_t rows = 1, columns = 0;  // a vector has one row
  int64_t heads = 0;              // of q and k: how many heads its rows form; else 0

  std::string scale_name() const;  // of a matrix: "blk.0.attn_q.scale"
};

// All of them, in file order.
std::vector<ModelTensor> model_tensors(const DecoderConfig& config);

// Where row `row` of a q or k in the file comes from, for graphs that rotate neighbouring rows: new
// row 2i+c of a head is its old row c·head_dim/2 + i.
int64_t interleaved_source(int64_t row, int64_t head_dim);

}  // namespace wf
