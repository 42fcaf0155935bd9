#include "gguf/gguf_logits.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/program.h"
#include "formats/safetensors_write.h"
#include "gguf/logit_gap.h"

namespace wf {
namespace {

namespace fs = std::filesystem;

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
  explicit TemporaryFile(const char* what)
      : path(fs::temp_directory_path() / fmt::format("wf_{}_{}.safetensors", what, getpid())) {}
  ~TemporaryFile() {
    std::error_code none;
    fs::remove(path, none);
  }
  const fs::path path;
};

template <class T>
std::vector<T> values_of(const Safetensors& file, const char* name) {
  const StoredTensor stored = file.tensor(name);
  const auto values = stored.as<T>();
  return {values.begin(), values.end()};
}

struct Evaluated {
  std::vector<int64_t> tokens, greedy;  // the text; what llama.cpp goes on with
  std::vector<float> logits;            // [tokens, vocabulary]
  int64_t vocabulary;
};

bool has_tokenizer(const GgufPlan& plan) {
  const auto* tokens = plan.metadata.get<GgufArray>("tokenizer.ggml.tokens");
  return tokens != nullptr;
}

Evaluated ask_llama(const fs::path& gguf, const HfFolder& folder, const GgufPlan& plan) {
  const TemporaryFile out("llama");
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
  return {values_of<int64_t>(file, "tokens"), values_of<int64_t>(file, "greedy"),
          values_of<float>(file, "logits"), file.tensor("logits").shape.at(1)};
}

// Our own logits after every one of `tokens`: [tokens, vocabulary].
struct Ours {
  std::vector<float> plain, int8;  // with fp32 activations; with int8 ones, if asked for
  int64_t vocabulary;
};

Ours ask_forward(const HfFolder& folder, const std::vector<int64_t>& tokens, bool ternary,
                 bool int8) {
  const TemporaryFile in("tokens"), out("forward");
  write_safetensors(in.path,
                    {writable("tokens", in_memory(Dtype::kI64, {int64_t(tokens.size())}, tokens))});
  std::vector<std::string> command = {sibling_program("wfforward"), folder.path(), in.path,
                                      out.path};
  if (ternary) command.push_back("--ternary");
  if (int8) command.push_back("--int8");
  run_program(command);
  const Safetensors file(out.path);
  return {values_of<float>(file, "logits"),
          int8 ? values_of<float>(file, "int8_logits") : std::vector<float>{},
          file.tensor("logits").shape.at(1)};
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

// ours: after the tokens and llama.cpp's continuation. Where every choice of llama.cpp is ours too,
// given what it had chosen before, our own greedy continuation is the same text. Logits that are
// equal up to rounding are no difference.
Finding judge_greedy(const Ours& ours, const Evaluated& theirs, double spread, bool exact) {
  const auto width = std::size_t(ours.vocabulary), count = theirs.greedy.size();
  std::size_t same = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = std::span(ours.plain).subspan((theirs.tokens.size() - 1 + i) * width, width);
    same += std::ranges::max(row) - row[std::size_t(theirs.greedy[i])] <= kExactRel * spread;
  }
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
  std::vector<int64_t> all = theirs.tokens;
  all.insert(all.end(), theirs.greedy.begin(), theirs.greedy.end());
  const Ours ours = ask_forward(folder, all, ternary, ternary && !exact);
  if (ours.vocabulary != theirs.vocabulary)
    return {{"logits", false,
             fmt::format("llama.cpp returns {} logits a token, the model {}", theirs.vocabulary,
                         ours.vocabulary)}};
  const auto tokens = int64_t(theirs.tokens.size());
  const auto of_text = [&](const std::vector<float>& logits) {
    return std::span(logits).first(theirs.logits.size());
  };
  const auto gap_between = [&](std::span<const float> a, std::span<const float> b) {
    return logit_gap(a, b, ours.vocabulary);
  };
  const LogitGap gap = gap_between(of_text(ours.plain), theirs.logits);
  std::vector<Finding> findings;
  if (has_tokenizer(plan))
    findings.push_back({"tokens", true, "equal to the folder's tokenizer's"});
  const auto& trained = ours.int8.empty() ? ours.plain : ours.int8;
  const LogitGap activations = gap_between(of_text(ours.plain), of_text(trained));
  findings.push_back(exact ? judge_exact(gap, tokens) : judge(gap, activations, tokens));
  findings.push_back(judge_greedy(ours, theirs, gap.spread, exact));
  if (ternary && !exact) {
    findings.push_back(
        {"as trained", true,
         fmt::format("against int8 activations a token: {}",
                     figures(gap_between(of_text(trained), theirs.logits), tokens))});
    findings.push_back(
        {"int8 alone", true,
         fmt::format("what they change in our own forward: {}", figures(activations, tokens))});
  }
  return findings;
}

}  // namespace wf
