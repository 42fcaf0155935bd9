#include "exporter/gguf_logits.h"

#include <torch/torch.h>
#include <unistd.h>

#include "base/error.h"
#include "base/program.h"
#include "exporter/logit_gap.h"
#include "model/load.h"
#include "ops/ternary.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

constexpr double kExactRel = 1e-3;
// Measured (tests/bench/results/gguf_logits.md): whole files stay far below these, and files whose
// scales are wrong by no more than the share of zero weights lie far above.
constexpr double kLooseRel = 0.12;       // as kl_of_relative_error
constexpr double kTimesActivations = 4;  // of the KL that int8 activations make in training
constexpr double kRegret = 0.04;         // in spreads

constexpr int64_t kTokens = 64, kGreedy = 64;
constexpr const char* kText =
    "The old lighthouse keeper wrote down the weather every evening: wind from the north-west, "
    "rain before midnight, two ships passing. In the third winter he began to add a sentence about "
    "what he had read, and by spring the log had become a book of 400 pages. \"It is not that "
    "anything happened,\" he said, \"but that nothing happened twice in the same way.\"";

// A file that is gone when the object is.
struct TemporaryFile {
  fs::path path = fs::temp_directory_path() / fmt::format("wf_logits_{}.safetensors", getpid());
  ~TemporaryFile() {
    std::error_code none;
    fs::remove(path, none);
  }
};

struct Evaluated {
  Tensor tokens, logits;  // [T] int64; [T, V]
  Tensor greedy;          // [G] int64: what llama.cpp goes on with
};

bool has_tokenizer(const GgufPlan& plan) {
  const auto* tokens = plan.metadata.get<GgufArray>("tokenizer.ggml.tokens");
  return tokens != nullptr;
}

Evaluated ask_llama(const fs::path& gguf, const HfFolder& folder, const GgufPlan& plan) {
  const TemporaryFile out;
  const int64_t limit = std::min(kTokens, plan.config.max_positions / 2);
  const int64_t greedy = std::min(kGreedy, plan.config.max_positions - limit);
  std::vector<std::string> command = {wf_command(), "logits", gguf.string(), "-o", out.path};
  const auto add = [&](const std::string& option, const std::string& value) {
    command.insert(command.end(), {option, value});
  };
  add("--limit", std::to_string(limit));
  add("--greedy", std::to_string(greedy));
  if (has_tokenizer(plan)) {
    add("--text", kText);
    add("--tokenizer", folder.path());
  } else {  // ids only: some, spread over the vocabulary
    std::string ids;
    for (int64_t i = 0; i < limit; ++i)
      ids += fmt::format("{}{}", i ? "," : "", (i * 7919 + 3) % plan.config.vocab_size);
    add("--tokens", ids);
  }
  run_program(command);
  const Safetensors file(out.path);
  return {file.tensor("tokens").clone(), file.tensor("logits").clone(),
          file.tensor("greedy").clone()};
}

// The weights as the folder means them: floats that are ternary already would lose scale to
// absmean.
std::shared_ptr<Decoder> load_as_planned(const HfFolder& folder, const GgufPlan& plan) {
  const torch::NoGradGuard no_grad;
  auto model = load_decoder(folder, {});
  for (auto& [name, linear] : model->bit_linears())
    for (const auto& tensor : plan.tensors) {
      if (tensor.content != PlannedTensor::Content::kCodes || tensor.matrix->name() != name ||
          tensor.matrix->kind() != TernarySource::Kind::kTernary)
        continue;
      Tensor codes = torch::empty(linear->weight.sizes(), torch::kChar);
      tensor.matrix->codes(0, codes.size(0), {codes.data_ptr<int8_t>(), size_t(codes.numel())});
      linear->weight.copy_(codes);
      ops::master_from_codes_(linear->weight, torch::tensor(tensor.matrix->scale()));
    }
  return model;
}

Tensor evaluate(Decoder& model, const Tensor& tokens, double weight_quant,
                double activation_quant) {
  const torch::NoGradGuard no_grad;
  const int64_t count = tokens.numel();
  Batch batch;
  batch.tokens = tokens.unsqueeze(0);
  batch.positions = torch::arange(count).unsqueeze(0);
  batch.starts = batch.device_starts = torch::tensor({int64_t{0}, count}, torch::kInt);
  batch.longest = count;
  const Trace trace = model.forward(
      batch, {.taps = {}, .weight_quant = weight_quant, .activation_quant = activation_quant});
  return trace.hidden.flatten(0, 1).mm(trace.head.t());
}

std::string figures(const LogitGap& gap, int64_t tokens) {
  return fmt::format("relative error {:.2g}, KL {:.2g}, top-1 {:.0f} of {}, regret {:.2g}", gap.rel,
                     gap.kl, gap.top1 * double(tokens), tokens, gap.regret);
}

Finding judge_exact(const LogitGap& gap, int64_t tokens) {
  return {"logits", gap.rel <= kExactRel,
          fmt::format("{} (limit of the relative error {:g})", figures(gap, tokens), kExactRel)};
}

Finding judge(const LogitGap& gap, const LogitGap& activations, int64_t tokens) {
  const double kl =
      std::max(kl_of_relative_error(kLooseRel, gap.spread), kTimesActivations * activations.kl);
  const double regret = std::max(kRegret, kTimesActivations * activations.regret);
  return {"logits", gap.kl <= kl && gap.regret <= regret,
          fmt::format("{} (limits: KL {:.2g}, regret {:.2g})", figures(gap, tokens), kl, regret)};
}

// ours: [T+G, V] after the tokens and llama.cpp's continuation. Where every choice of llama.cpp is
// ours too, given what it had chosen before, our own greedy continuation is the same text. Logits
// that are equal up to rounding are no difference.
Finding judge_greedy(const Tensor& ours, const Evaluated& theirs, double spread, bool exact) {
  const int64_t count = theirs.greedy.numel(), first = theirs.tokens.numel() - 1;
  const Tensor rows = ours.slice(0, first, first + count);
  const Tensor short_of_best = rows.amax(1) - rows.gather(1, theirs.greedy.unsqueeze(1)).squeeze(1);
  const auto same = (short_of_best <= kExactRel * spread).sum().item<int64_t>();
  return {"greedy", !exact || same == count,
          fmt::format("{} of llama.cpp's next {} tokens are ours too", same, count)};
}

}  // namespace

std::vector<Finding> validate_logits(const fs::path& gguf, const HfFolder& folder,
                                     const GgufPlan& plan) {
  if (plan.graph->engine != Engine::kLlamaCpp)
    return {{"logits", true,
             fmt::format("not compared: no engine here runs files of {}",
                         engine_name(plan.graph->engine))}};
  Evaluated theirs;
  try {
    theirs = ask_llama(gguf, folder, plan);
  } catch (const Error& error) {
    return {{"logits", false, error.what()}};
  }
  bool ternary = false, exact = true;
  for (const auto& tensor : plan.tensors) {
    ternary |= tensor.content == PlannedTensor::Content::kCodes;
    exact &= tensor.info.type == GgufType::kF32;
  }
  const auto model = load_as_planned(folder, plan);
  const int64_t tokens = theirs.tokens.numel();
  const Tensor all = torch::cat({theirs.tokens, theirs.greedy});
  const Tensor continued = evaluate(*model, all, ternary, 0);
  const Tensor ours = continued.slice(0, 0, tokens);
  if (ours.sizes() != theirs.logits.sizes())
    return {{"logits", false,
             fmt::format("llama.cpp returns {} logits a token, the model {}", theirs.logits.size(1),
                         ours.size(1))}};
  const LogitGap gap = logit_gap(ours, theirs.logits);
  std::vector<Finding> findings;
  if (has_tokenizer(plan))
    findings.push_back({"tokens", true, "equal to the folder's tokenizer's"});
  const Tensor trained = exact ? ours : evaluate(*model, theirs.tokens, ternary, ternary);
  const LogitGap activations = logit_gap(ours, trained);
  findings.push_back(exact ? judge_exact(gap, tokens) : judge(gap, activations, tokens));
  findings.push_back(judge_greedy(continued, theirs, gap.spread, exact));
  if (ternary && !exact) {
    findings.push_back({"as trained", true,
                        fmt::format("against int8 activations a token: {}",
                                    figures(logit_gap(trained, theirs.logits), tokens))});
    findings.push_back(
        {"int8 alone", true,
         fmt::format("what they change in our own forward: {}", figures(activations, tokens))});
  }
  return findings;
}

}  // namespace wf
