#include "gguf/gguf_tokenizer.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "formats/sentencepiece.h"
#include "gguf/pre_tokenizer.h"
#include "gguf/special_tokens.h"

namespace wf {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class Reader {
 public:
  Reader(const fs::path& folder, int64_t rows) : folder_(folder), rows_(rows) {}

  GgufTokenizer read() {
    const fs::path json_file = folder_ / "tokenizer.json", spm_file = folder_ / "tokenizer.model";
    tokenizer_config_ = read_json_or_empty(folder_ / "tokenizer_config.json");
    if (fs::is_regular_file(json_file))
      read_tokenizer_json(json_file, spm_file);
    else if (fs::is_regular_file(spm_file))
      read_tokenizer_model(spm_file);
    else
      return {};
    pad();
    read_special_tokens(folder_, vocab_, rows_, out_.special);
    read_chat_template();
    return std::move(out_);
  }

 private:
  void read_tokenizer_json(const fs::path& file, const fs::path& spm_file) {
    const json tokenizer = read_json(file);
    try {
      const json& model = tokenizer.at("model");
      const std::string type = model.value("type", "");
      if (type != "BPE")
        fail(
            "{}: a tokenizer of type '{}' has no counterpart in llama.cpp's llama, qwen and bitnet "
            "models; BPE has",
            file.string(), type);
      if (is_byte_level(tokenizer))
        read_byte_level(tokenizer, file);
      else if (model.value("byte_fallback", false))
        read_sentencepiece_json(tokenizer, file, spm_file);
      else
        fail("{}: neither a byte-level BPE nor one with byte_fallback; llama.cpp knows no other",
             file.string());
      read_added_tokens(tokenizer);
      read_template(tokenizer.value("post_processor", json()), file);
    } catch (const json::exception& problem) {
      fail("{}: not a Hugging Face tokenizer: {}", file.string(), problem.what());
    }
  }

  // The bytes' own alphabet (Ġ for a space) is what either the cutting or the decoder makes.
  static bool is_byte_level(const json& tokenizer) {
    return tokenizer.value("pre_tokenizer", json()).dump().find("\"ByteLevel\"") !=
           std::string::npos;
  }

  void read_byte_level(const json& tokenizer, const fs::path& file) {
    const json& model = tokenizer.at("model");
    refuse_variants(model, file);
    out_.model = "gpt2";
    out_.pre = pre_tokenizer_name(tokenizer, file.string());
    read_vocab(model.at("vocab"), file);
    for (const auto& [left, right] : merges_of(model))
      out_.merges.push_back(escape_space(left) + " " + escape_space(right));
  }

  static void refuse_variants(const json& model, const fs::path& file) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const auto value = model.value(key, json()); !value.is_null() && value != "")
        fail("{}: {} {} has no counterpart in llama.cpp", file.string(), key, value.dump());
  }

  static std::vector<std::pair<std::string, std::string>> merges_of(const json& model) {
    std::vector<std::pair<std::string, std::string>> merges;
    for (const auto& merge : model.at("merges")) {
      if (merge.is_array()) {
        merges.emplace_back(merge.at(0), merge.at(1));
      } else {
        const auto text = merge.get<std::string>();
        const auto space = text.find(' ', 1);
        merges.emplace_back(text.substr(0, space), text.substr(space + 1));
      }
    }
    return merges;
  }

  static std::string escape_space(std::string part) {  // as the file format asks: Ġ, U+0120
    for (std::size_t at = 0; (at = part.find(' ', at)) != std::string::npos; at += 2)
      part.replace(at, 1, "\u0120");
    return part;
  }

  // SentencePiece joins the neighbours whose union scores highest, wherever that union is a token.
  // A tokenizer.json does the same if it lists every way to split each token, one token after the
  // other; then minus the rank is the score.
  void read_sentencepiece_json(const json& tokenizer, const fs::path& file,
                               const fs::path& spm_file) {
    const json& model = tokenizer.at("model");
    refuse_variants(model, file);
    out_.model = "llama";
    out_.add_space_prefix = prefixes_space(tokenizer, file);
    read_vocab(model.at("vocab"), file);
    out_.scores.assign(out_.tokens.size(), -1e9f);
    std::unordered_map<std::string, std::unordered_set<std::string>> lefts;
    for (float rank = 0; const auto& [left, right] : merges_of(model)) {
      const auto id = vocab_.find(left + right);
      if (id == vocab_.end())
        fail("{}: merges '{}' and '{}' into no token", file.string(), left, right);
      if (lefts[left + right].insert(left).second && lefts[left + right].size() == 1)
        out_.scores[id->second] = -rank;
      ++rank;
    }
    for (const auto& [token, id] : vocab_)
      if (const auto found = lefts.find(token); found != lefts.end())
        check_complete(token, found->second, file);
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = vocab_.find(fmt::format("<0x{:02X}>", byte));
      if (found == vocab_.end())
        fail("{}: byte_fallback needs a token <0x{:02X}>", file.string(), byte);
      out_.types[found->second] = GgufTokenizer::kByte;
      out_.scores[found->second] = 0;
    }
    if (const auto unknown = model.value("unk_token", json()); unknown.is_string())
      if (const auto found = vocab_.find(unknown); found != vocab_.end()) {
        out_.types[found->second] = GgufTokenizer::kUnknown;
        out_.special["unknown"] = found->second;
      }
  }

  void check_complete(const std::string& token, const std::unordered_set<std::string>& lefts,
                      const fs::path& file) const {
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      if ((uint8_t(token[cut]) & 0xC0) == 0x80) continue;  // inside a character
      const auto left = token.substr(0, cut);
      if (!lefts.contains(left) && vocab_.contains(left) && vocab_.contains(token.substr(cut)))
        fail(
            "{}: SentencePiece would also make '{}' of '{}' and '{}', which is not among the "
            "merges, "
            "so llama.cpp would split text otherwise; use a byte-level BPE (as `wf data prepare` "
            "expects of qwen2, smollm and llama 3)",
            file.string(), token, left, token.substr(cut));
    }
  }

  bool prefixes_space(const json& tokenizer, const fs::path& file) {
    const std::string space = "\u2581";
    std::vector<json> steps;
    for (const char* key : {"normalizer", "pre_tokenizer"}) {
      const json step = tokenizer.value(key, json());
      if (step.is_null()) continue;
      const bool sequence = step.value("type", "") == "Sequence";
      if (!sequence) steps.push_back(step);
      for (const char* list : {"normalizers", "pretokenizers"})
        if (sequence && step.contains(list))
          for (const auto& inner : step.at(list)) steps.push_back(inner);
    }
    bool prefix = false, replaces = false;
    for (const auto& step : steps) {
      const std::string type = step.value("type", "");
      if (type == "Prepend" && step.value("prepend", "") == space)
        prefix = true;
      else if (type == "Replace" && step.value("content", "") == space &&
               step.value("pattern", json()) == json{{"String", " "}})
        replaces = true;
      else if (type == "Metaspace" && step.value("replacement", "") == space &&
               !step.value("split", true)) {
        replaces = true;
        prefix = step.value("prepend_scheme", "always") != "never";
        if (prefix)
          out_.notices.push_back(
              "llama.cpp puts a space before every text, this tokenizer only before one that does "
              "not begin with a space: ids of text that does differ by that one");
      } else {
        fail("{}: its step {} has no counterpart in llama.cpp's SentencePiece", file.string(),
             step.dump());
      }
    }
    if (!replaces)
      fail("{}: leaves spaces as they are, which llama.cpp's SentencePiece does not",
           file.string());
    return prefix;
  }

  void read_tokenizer_model(const fs::path& file) {
    const auto model = read_sentencepiece(file);
    if (model.kind != SentencePieceModel::kBpe)
      fail("{}: not a BPE; llama.cpp's SentencePiece joins pairs and would split text otherwise",
           file.string());
    if (model.normalizes)
      out_.notices.push_back(
          fmt::format("{}: its table of character replacements is left out; llama.cpp has none, so "
                      "text that it would change gets other ids",
                      file.string()));
    out_.model = "llama";
    out_.add_space_prefix = model.add_dummy_prefix;
    for (const auto& piece : model.pieces) {
      add_token(out_.tokens.size(), piece.piece, file);
      out_.types.back() = piece.type;
      out_.scores.push_back(piece.score);
    }
    const std::pair<const char*, int> ids[] = {{"unknown", model.unk_id},
                                               {"bos", model.bos_id},
                                               {"eos", model.eos_id},
                                               {"padding", model.pad_id}};
    for (const auto& [name, id] : ids)
      if (id >= 0 && id < int(model.pieces.size())) out_.special[name] = id;
    out_.add_bos = tokenizer_config_.value("add_bos_token", true);
    out_.add_eos = tokenizer_config_.value("add_eos_token", false);
  }

  void read_vocab(const json& vocab, const fs::path& file) {
    for (const auto& [token, id] : vocab.items()) add_token(id.get<int64_t>(), token, file);
  }

  void add_token(int64_t id, const std::string& token, const fs::path& file) {
    if (id < 0 || id >= rows_)
      fail(
          "{}: token '{}' has id {}, and the model has {} rows of embeddings; this tokenizer is "
          "another model's",
          file.string(), token, id, rows_);
    if (const auto [known, fresh] = vocab_.emplace(token, id); !fresh && known->second != id)
      fail("{}: token '{}' has two ids, {} and {}; llama.cpp allows one", file.string(), token,
           known->second, id);
    if (std::size_t(id) >= out_.tokens.size()) {
      out_.tokens.resize(id + 1);
      out_.types.resize(id + 1, GgufTokenizer::kUnused);
    }
    if (!out_.tokens[id].empty() && out_.tokens[id] != token)
      fail("{}: id {} has two tokens, '{}' and '{}'", file.string(), id, out_.tokens[id], token);
    out_.tokens[id] = token;
    out_.types[id] = GgufTokenizer::kNormal;
  }

  void read_added_tokens(const json& tokenizer) {
    for (const auto& added : tokenizer.value("added_tokens", json::array())) {
      const std::string content = added.at("content");
      const int64_t id = added.at("id");
      const bool unknown = out_.special.contains("unknown") && out_.special["unknown"] == id;
      const bool looks_special = content.starts_with("<|") && content.ends_with("|>");
      add_token(id, content, folder_ / "tokenizer.json");
      out_.types[id] = unknown ? GgufTokenizer::kUnknown
                       : added.value("special", false) || looks_special
                           ? GgufTokenizer::kControl
                           : GgufTokenizer::kUserDefined;
      for (const char* property : {"lstrip", "rstrip", "single_word"})
        if (added.value(property, false))
          out_.notices.push_back(
              fmt::format("token '{}' is {}, which llama.cpp ignores: ids of text beside it differ",
                          content, property));
    }
    if (out_.model == "llama") out_.scores.resize(out_.tokens.size(), 0);
  }

  void pad() {
    for (int64_t id = 0; id < rows_; ++id)
      if (id >= int64_t(out_.tokens.size()) || out_.tokens[id].empty()) {
        add_token(id, fmt::format("[PAD{}]", id), folder_);
        out_.types[id] = GgufTokenizer::kUnused;
      }
    if (out_.model == "llama") out_.scores.resize(rows_, 0);
  }

  // What a text is surrounded with: at most one token before it and one after.
  void read_template(const json& processor, const fs::path& file) {
    const std::string type = processor.is_null() ? "" : processor.value("type", "");
    if (type == "Sequence") {
      for (const auto& inner : processor.at("processors")) read_template(inner, file);
    } else if (type == "TemplateProcessing") {
      bool after = false;
      for (const auto& piece : processor.at("single")) {
        if (piece.contains("Sequence")) {
          after = true;
          continue;
        }
        const std::string token = piece.at("SpecialToken").at("id");
        bool& adds = after ? out_.add_eos : out_.add_bos;
        if (adds || !vocab_.contains(token))
          fail("{}: surrounds a text with more than a BOS and an EOS, which llama.cpp cannot: {}",
               file.string(), processor.at("single").dump());
        adds = true;
        out_.special[after ? "eos" : "bos"] = vocab_.at(token);
      }
    } else if (!type.empty() && type != "ByteLevel") {
      fail("{}: post_processor {} has no counterpart in llama.cpp", file.string(), type);
    }
  }

  void read_chat_template() {
    const fs::path file = folder_ / "chat_template.jinja";
    if (fs::is_regular_file(file)) {
      out_.chat_template = read_text(file);
      return;
    }
    const json in_config = tokenizer_config_.value("chat_template", json());
    if (in_config.is_string()) out_.chat_template = in_config;
    if (in_config.is_array())
      for (const auto& entry : in_config)
        if (entry.value("name", "") == "default") out_.chat_template = entry.value("template", "");
  }

  fs::path folder_;
  int64_t rows_;
  json tokenizer_config_;
  TokenIds vocab_;
  GgufTokenizer out_;
};

}  // namespace

GgufTokenizer read_gguf_tokenizer(const fs::path& folder, int64_t rows) {
  return Reader(folder, rows).read();
}

void write_metadata(const GgufTokenizer& tokenizer, GgufMetadata& metadata) {
  const auto set = [&](const std::string& key, GgufValue value) {
    metadata.set("tokenizer.ggml." + key, std::move(value));
  };
  set("model", tokenizer.model);
  if (tokenizer.model == "none") return;
  set("pre", tokenizer.pre);
  set("tokens", GgufArray(tokenizer.tokens));
  set("token_type", GgufArray(tokenizer.types));
  if (tokenizer.model == "llama")
    set("scores", GgufArray(tokenizer.scores));
  else
    set("merges", GgufArray(tokenizer.merges));
  for (const auto& [name, id] : tokenizer.special) set(name + "_token_id", id);
  set("add_bos_token", tokenizer.add_bos);
  set("add_eos_token", tokenizer.add_eos);
  set("add_space_prefix", tokenizer.add_space_prefix);
  if (!tokenizer.chat_template.empty())
    metadata.set("tokenizer.chat_template", tokenizer.chat_template);
}

}  // namespace wf
