#include "gguf/pre_tokenizer.h"

#include <vector>

#include "base/error.h"

namespace wf {
namespace {

using nlohmann::json;

// The regular expressions as the models' tokenizer.json files write them.
std::string words_with_digits(const std::string& digits) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

// The steps that cut, in order, without fields that change nothing.
std::vector<json> steps_of(const json& pre_tokenizer) {
  if (pre_tokenizer.is_null()) return {};
  if (pre_tokenizer.value("type", "") == "Sequence") {
    std::vector<json> steps;
    for (const auto& step : pre_tokenizer.value("pretokenizers", json::array()))
      for (const auto& inner : steps_of(step)) steps.push_back(inner);
    return steps;
  }
  json step = pre_tokenizer;
  step.erase("trim_offsets");  // concerns positions, not tokens
  if (step.value("type", "") == "ByteLevel") step.emplace("use_regex", true);
  if (step.value("type", "") == "Split") step.emplace("invert", false);
  return {step};
}

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}
json split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

struct Known {
  std::vector<json> steps;
  bool ignore_merges;
  const char* name;
};

// llama.cpp's smaug-bpe cuts as llama-bpe does and applies merges to whole words too.
const std::vector<Known>& known() {
  static const std::vector<Known> table = {
      {{byte_level(true)}, false, "gpt-2"},
      {{{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}, false, "smollm"},
      {{split(words_with_digits(R"(\p{N}{1,3})")), byte_level(false)}, true, "llama-bpe"},
      {{split(words_with_digits(R"(\p{N}{1,3})")), byte_level(false)}, false, "smaug-bpe"},
      {{split(words_with_digits(R"(\p{N})")), byte_level(false)}, false, "qwen2"},
  };
  return table;
}

}  // namespace

std::string pre_tokenizer_name(const json& tokenizer, const std::string& file) {
  const auto normalizer = tokenizer.value("normalizer", json());
  // qwen's NFC changes only text that is not in that form, which hardly any is; llama.cpp and its
  // converters leave it out.
  if (!normalizer.is_null() && normalizer.value("type", "") != "NFC")
    fail("{}: its normalizer {} has no counterpart in llama.cpp", file, normalizer.dump());
  const auto pre_tokenizer = tokenizer.value("pre_tokenizer", json());
  const auto steps = steps_of(pre_tokenizer);
  const bool ignore_merges = tokenizer.at("model").value("ignore_merges", false);
  for (const auto& candidate : known())
    if (steps == candidate.steps && ignore_merges == candidate.ignore_merges) return candidate.name;
  fail(
      "{}: cuts text into words in a way that is none of llama.cpp's gpt-2, smollm, llama-bpe or "
      "qwen2 (pre_tokenizer {}, ignore_merges {}); a GGUF file would split text otherwise than the "
      "model was trained",
      file, pre_tokenizer.dump(), ignore_merges);
}

}  // namespace wf
