#include "gguf/gguf_plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "gguf/gguf_keys.h"
#include "gguf/gguf_tokenizer.h"
#include "shape/hf_config.h"

namespace wf {
namespace {

constexpr float kLeastNormalHalf = 6.103515625e-5F, kLargestHalf = 65504;

bool is_microsoft_layout(GgufType type) {
  return type == GgufType::kI2_S || type == GgufType::kTL1 || type == GgufType::kTL2;
}

bool is_plain_float(GgufType type) {
  return type == GgufType::kF32 || type == GgufType::kF16 || type == GgufType::kBF16;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return std::tolower(c); });
  return out;
}

class Planner {
 public:
  Planner(const HfFolder& folder, const GgufOptions& options)
      : folder_(folder), options_(options), where_(folder.path().string()) {
    plan_.config = read_decoder_config(folder);
    plan_.graph = &choose_graph(plan_.config, options.engine, options.arch);
    // llama.cpp adds the biases of gate, up and down before it multiplies by the scale.
    reads_scale_ = plan_.graph->reads_scale && !plan_.config.mlp_bias;
  }

  GgufPlan run(const ShowProgress& progress) {
    check_options();
    const auto problems = graph_problems(plan_.config, *plan_.graph);
    if (!problems.empty())
      fail("{}: {} cannot run this model:\n  {}", where_, engine_name(options_.engine),
           fmt::join(problems, "\n  "));
    const auto tensors = model_tensors(plan_.config);
    std::vector<std::string> names;
    for (const auto& tensor : tensors) names.push_back(tensor.hf_name);
    check_tensor_names(folder_, plan_.config, names);

    const Storage storage = storage_of(folder_.config(), where_ + "/config.json");
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      progress("measuring", double(i) / double(tensors.size()));
      if (tensors[i].kind == TensorKind::kMatrix && ternary_)
        add_ternary(tensors[i], storage);
      else
        add_floats(tensors[i]);
    }
    refuse_mixture();
    if (plan_.config.rope_scaling && plan_.config.rope_scaling->kind == RopeScaling::Kind::kLlama3)
      add({kRopeFactors, {static_cast<uint64_t>(plan_.config.head_dim / 2)}},
          PlannedTensor::Content::kRopeFactors, {});
    write_metadata();
    add_notices();
    return std::move(plan_);
  }

 private:
  void check_options() {
    const std::string type = lower(gguf_type_name(options_.outtype));
    if (!engine_reads(options_.engine, options_.outtype))
      fail("{} does not read {}: choose another --outtype or --engine",
           engine_name(options_.engine), type);
    const auto trained = trained_ternary(folder_.config(), where_ + "/config.json");
    ternary_ = options_.ternary.value_or(trained.value_or(true));
    if (!ternary_ && !is_plain_float(options_.outtype) && options_.outtype != GgufType::kQ8_0)
      fail(
          "{}: its weights were not trained to be ternary, and {} would destroy them: train first, "
          "or use --outtype f16, bf16, f32 or q8_0",
          where_, type);
    if (!options_.ternary && !trained)
      plan_.notices.push_back(
          "config.json does not say how the weights were trained; they are taken as trained "
          "ternary (--weights full-precision writes them as they are)");
    if (options_.ternary == true && trained == false)
      plan_.notices.push_back(
          "config.json says that these weights were not trained ternary; ternarised all the same, "
          "the model will not answer as it did");
    if (!options_.kernel_config.empty()) plan_.kernels = KernelConfig(options_.kernel_config);
  }

  void add(GgufTensor info, PlannedTensor::Content content, const ModelTensor& from,
           std::shared_ptr<TernarySource> matrix = nullptr, float stored_scale = 1) {
    const bool reorder = plan_.graph->interleaved_rope && from.heads > 0;
    plan_.tensors.push_back({std::move(info), content, from, std::move(matrix), stored_scale,
                             reorder ? plan_.config.head_dim : 0});
  }

  static std::vector<uint64_t> extents(const ModelTensor& tensor) {
    if (tensor.kind == TensorKind::kVector) return {static_cast<uint64_t>(tensor.columns)};
    return {static_cast<uint64_t>(tensor.columns), static_cast<uint64_t>(tensor.rows)};
  }

  // Whether `type` holds this matrix exactly: its blocks divide the rows, and the scale, where the
  // type has to hold it, is a number that its format has.
  bool holds(GgufType type, const ModelTensor& tensor, float scale, bool scale_apart) const {
    const auto ne = extents(tensor);
    if (!engine_reads(options_.engine, type) || !gguf_tensor_bytes(type, ne)) return false;
    if (scale_apart || type == GgufType::kF32 || type == GgufType::kBF16) return true;
    const float stored = type == GgufType::kQ8_0 ? scale / 127 : scale;
    return stored >= kLeastNormalHalf && stored <= kLargestHalf;
  }

  void add_ternary(const ModelTensor& tensor, Storage storage) {
    auto matrix = std::make_shared<TernarySource>(folder_, tensor.hf_name, storage, tensor.rows,
                                                  tensor.columns);
    folder_.release(tensor.hf_name);
    ++kinds_[matrix->kind()];
    GgufType type = options_.outtype;
    if (is_microsoft_layout(type)) {
      if (type != GgufType::kI2_S) {  // throws where it cannot be tiled
        plan_.kernels.tiling(type, tensor.rows, tensor.columns, options_.kernel_config.empty());
      } else if (!holds(type, tensor, matrix->scale(), true)) {
        type = fallback(tensor, matrix->scale(), false);
      }
    }
    const bool scale_apart = reads_scale_ && !is_microsoft_layout(type) && type != GgufType::kF32;
    if (!is_microsoft_layout(type) && !holds(type, tensor, matrix->scale(), scale_apart))
      type = fallback(tensor, matrix->scale(), scale_apart);
    add({tensor.gguf_name, extents(tensor), type}, PlannedTensor::Content::kCodes, tensor, matrix,
        scale_apart ? 1 : matrix->scale());
    if (scale_apart)
      add({tensor.scale_name(), {1}}, PlannedTensor::Content::kScale, tensor, matrix);
  }

  // Where some matrices are packed, floats were kept from being ternary.
  void refuse_mixture() const {
    using enum TernarySource::Kind;
    if (kinds_.contains(kPacked) && kinds_.contains(kLatent))
      fail(
          "{}: {} block matrices are packed codes and {} are floats, which would have to be made "
          "ternary: name a folder in which all are the one or the other",
          where_, kinds_.at(kPacked), kinds_.at(kLatent));
  }

  // The smallest lossless type that is left; F32 always is.
  GgufType fallback(const ModelTensor& tensor, float scale, bool scale_apart) {
    for (const GgufType type : {GgufType::kQ2_0, GgufType::kQ8_0, GgufType::kF16})
      if (type != options_.outtype && holds(type, tensor, scale, scale_apart)) {
        ++fallbacks_[{type, tensor.columns}];
        return type;
      }
    if (scale_apart)  // unreachable: F16 holds every shape then
      fail("internal error: no type holds '{}'", tensor.hf_name);
    ++fallbacks_[{GgufType::kF32, tensor.columns}];
    return GgufType::kF32;
  }

  void add_floats(const ModelTensor& tensor) {
    const StoredTensor stored = folder_.tensor(tensor.hf_name);
    const std::vector<int64_t> shape = tensor.kind == TensorKind::kVector
                                           ? std::vector<int64_t>{tensor.columns}
                                           : std::vector<int64_t>{tensor.rows, tensor.columns};
    if (stored.shape != shape || !is_floating_point(stored.dtype))
      fail("{}: tensor '{}' is {} of shape [{}], expected floating point of shape [{}]", where_,
           tensor.hf_name, dtype_name(stored.dtype), fmt::join(stored.shape, ", "),
           fmt::join(shape, ", "));
    GgufType type = GgufType::kF32;
    if (tensor.kind == TensorKind::kMatrix) type = options_.outtype;
    if (tensor.kind == TensorKind::kEmbedding)
      type = options_.embedding.value_or(is_plain_float(options_.outtype) ? options_.outtype
                                                                          : GgufType::kF16);
    for (const GgufType wider : {GgufType::kQ8_0, GgufType::kF16}) {
      if (gguf_tensor_bytes(type, extents(tensor))) break;
      plan_.notices.push_back(
          fmt::format("'{}' is {} instead of {}: its rows of {} are no whole number of blocks",
                      tensor.gguf_name, lower(gguf_type_name(wider)), lower(gguf_type_name(type)),
                      tensor.columns));
      type = wider;
    }
    add({tensor.gguf_name, extents(tensor), type}, PlannedTensor::Content::kFloats, tensor);
    plan_.tensors.back().floats = stored;
  }

  void write_metadata() {
    const auto name = std::filesystem::absolute(folder_.path()).lexically_normal();
    write_model_keys(
        plan_.config, *plan_.graph,
        name.has_filename() ? name.filename().string() : name.parent_path().filename().string(),
        options_.outtype, plan_.metadata);
    const auto tokenizer = read_gguf_tokenizer(folder_.path(), plan_.config.vocab_size);
    wf::write_metadata(tokenizer, plan_.metadata);
    if (tokenizer.model == "none") {
      plan_.notices.push_back(
          "the folder has neither tokenizer.json nor tokenizer.model: the file can be asked for "
          "ids "
          "only");
      if (options_.engine != Engine::kLlamaCpp)
        plan_.metadata.set("tokenizer.ggml.model", std::string("no_vocab"));
    }
    for (const auto& notice : tokenizer.notices) plan_.notices.push_back(notice);
  }

  void add_notices() {
    const std::string outtype = lower(gguf_type_name(options_.outtype));
    for (const auto& [what, count] : fallbacks_)
      plan_.notices.push_back(fmt::format(
          "{} matrices of {} inputs are {} instead of {}, without loss: {}", count, what.second,
          lower(gguf_type_name(what.first)), outtype,
          gguf_tensor_bytes(options_.outtype, std::array{static_cast<uint64_t>(what.second)})
              ? "their scale is too small for a half"
              : "its blocks do not divide them"));
    if (const auto count = kinds_[TernarySource::Kind::kTernary])
      plan_.notices.push_back(fmt::format(
          "{} matrices are ternary already: their codes and scales are kept as they are", count));
    if (!reads_scale_ && ternary_ && options_.outtype == GgufType::kBF16)
      plan_.notices.push_back(
          "scales are rounded to the 8 bits of bf16 (by up to 0.4 %): f16 and f32 keep more");
    const bool tiled = options_.outtype == GgufType::kTL1 || options_.outtype == GgufType::kTL2;
    if (tiled)
      plan_.notices.push_back(
          fmt::format("the runtime must be built with the {} that belongs to this file, or its "
                      "answers are wrong",
                      kKernelConfigName));
    if (options_.engine == Engine::kMicrosoft2026 && plan_.graph->arch == "bitnet-b1.58")
      plan_.notices.push_back(
          "builds of Microsoft's fork from 2026 up to at least July compute silu under the name "
          "bitnet-b1.58; this model needs relu2");
  }

  const HfFolder& folder_;
  const GgufOptions& options_;
  std::string where_;
  GgufPlan plan_;
  bool ternary_ = true, reads_scale_ = false;
  std::map<TernarySource::Kind, int64_t> kinds_;
  std::map<std::pair<GgufType, int64_t>, int64_t> fallbacks_;
};

}  // namespace

GgufPlan plan_gguf(const HfFolder& folder, const GgufOptions& options,
                   const ShowProgress& progress) {
  try {
    return Planner(folder, options).run(progress);
  } catch (const nlohmann::json::exception& problem) {
    fail("{}: a value in its config.json or its tokenizer's files is of the wrong type: {}",
         folder.path().string(), problem.what());
  }
}

}  // namespace wf
