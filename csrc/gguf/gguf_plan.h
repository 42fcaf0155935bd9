// What a GGUF file of a model folder will hold, decided in full before anything is written.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "gguf/gguf_graph.h"
#include "gguf/gguf_tensors.h"
#include "gguf/kernel_config.h"
#include "ternary/ternary_source.h"

namespace wf {

struct GgufOptions {
  Engine engine = Engine::kLlamaCpp;
  GgufType outtype = GgufType::kTQ1_0;               // of the block matrices
  std::optional<GgufType> embedding = std::nullopt;  // and head; unset: F32, F16 or BF16
  std::string arch = {};                             // empty: follows from the model
  std::optional<bool> ternary = std::nullopt;        // the block matrices; unset: config.json says
  std::filesystem::path kernel_config = {};          // for TL1 and TL2; empty: tiles are chosen
};

// Called with the share that is done, between steps of at most a few tenths of a second. What it
// throws ends the work, and nothing is left behind.
using ShowProgress = std::function<void(const char* doing, double share)>;

struct PlannedTensor {
  enum class Content { kCodes, kScale, kFloats, kRopeFactors };
  GgufTensor info;
  Content content;
  ModelTensor from;
  std::shared_ptr<TernarySource> matrix;  // kCodes, kScale
  float stored_scale = 1;                 // kCodes: what the type itself multiplies codes with
  int64_t interleaved_head_dim = 0;       // rows reordered within heads of this size; 0: kept
  StoredTensor floats = {};               // kFloats: in the folder's order of rows

  // The row of the folder that the file has at `row`. A vector of q or k (its bias) is reordered
  // like a matrix of one column.
  int64_t source_row(int64_t row) const {
    return interleaved_head_dim ? interleaved_source(row, interleaved_head_dim) : row;
  }
  bool is_vector() const { return from.kind == TensorKind::kVector; }
  int64_t rows() const { return is_vector() ? from.columns : from.rows; }
  int64_t columns() const { return is_vector() ? 1 : from.columns; }
};

struct GgufPlan {
  DecoderConfig config;
  const GgufGraph* graph;
  GgufMetadata metadata;
  std::vector<PlannedTensor> tensors;
  KernelConfig kernels;
  std::vector<std::string> notices;  // what a person should know, a sentence each
};

// Measures the scales of all matrices. Throws Error, with the ways out, for what no file of this
// engine and type can hold.
GgufPlan plan_gguf(const HfFolder& folder, const GgufOptions& options,
                   const ShowProgress& progress);

}  // namespace wf
