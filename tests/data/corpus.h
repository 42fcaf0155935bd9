// Prepared folders written by plain code, and what a row of them has to look like.
#pragma once
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "data/batch.h"

namespace wf::test {

using Document = std::vector<int64_t>;

struct Corpus {
  std::vector<std::vector<Document>> shards;  // documents of each shard file
  std::string dtype = "uint32";
  int64_t vocab_size = 1 << 20;
  std::string tokenizer = "a tokenizer";

  // Documents of these lengths whose tokens count up from `first` over the whole corpus, so that a
  // token's value says where it lies.
  static Corpus counting(const std::vector<std::vector<int64_t>>& lengths, int64_t first = 0) {
    Corpus corpus;
    for (const auto& shard : lengths) {
      corpus.shards.emplace_back();
      for (const int64_t length : shard) {
        Document& document = corpus.shards.back().emplace_back();
        for (int64_t i = 0; i < length; ++i) document.push_back(first++);
      }
    }
    return corpus;
  }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    nlohmann::json manifest{{"format", "wf-tokens"},
                            {"version", 1},
                            {"dtype", dtype},
                            {"vocab_size", vocab_size},
                            {"eos_token_id", 0},
                            {"tokens", 0},
                            {"documents", 0},
                            {"tokenizer_sha256", tokenizer},
                            {"shards", nlohmann::json::array()}};
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string name = fmt::format("{:05}", i);
      std::ofstream tokens(folder / (name + ".tokens"), std::ios::binary);
      std::ofstream documents(folder / (name + ".documents"), std::ios::binary);
      uint64_t count = 0;
      put(documents, count, 8);
      for (const Document& document : shards[i]) {
        for (const int64_t token : document) put(tokens, token, dtype == "uint16" ? 2 : 4);
        put(documents, count += document.size(), 8);
      }
      tokens.close();
      manifest["shards"].push_back(
          {{"tokens_file", name + ".tokens"},
           {"documents_file", name + ".documents"},
           {"tokens", count},
           {"documents", shards[i].size()},
           {"tokens_sha256", sha256_hex_of_file(folder / (name + ".tokens"))}});
      manifest["tokens"] = manifest["tokens"].get<uint64_t>() + count;
      manifest["documents"] = manifest["documents"].get<std::size_t>() + shards[i].size();
    }
    std::ofstream(folder / "manifest.json") << manifest.dump();
  }

  // The whole stream, a token and the number of its document at each place.
  struct Place {
    int64_t token, document;
  };
  std::vector<Place> stream() const {
    std::vector<Place> all;
    int64_t number = 0;
    for (const auto& shard : shards)
      for (const Document& document : shard) {
        for (const int64_t token : document) all.push_back({token, number});
        ++number;
      }
    return all;
  }

 private:
  static void put(std::ofstream& file, uint64_t value, int bytes) {  // little-endian
    for (int i = 0; i < bytes; ++i) file.put(static_cast<char>(value >> 8 * i));
  }
};

inline std::vector<int64_t> numbers(const torch::Tensor& tensor) {
  const torch::Tensor flat = tensor.to(torch::kInt64).contiguous().view(-1);
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

}  // namespace wf::test
