// Tokens per second that the data layer delivers from the page cache, on one core.
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "base/file.h"
#include "data/mixture.h"
#include "data/prefetch.h"
#include "data/synthetic.h"
#include "tests/base/temporary_folder.h"

namespace {

using namespace wf;

constexpr int64_t kVocab = 50'000, kRepeats = 9, kBatches = 20;
constexpr DataShape kShape{.batch_size = 32, .sequence_length = 2048, .vocab_size = kVocab};

// Random tokens in documents of `mean` tokens on average.
template <class Stored>
void write_corpus(const std::filesystem::path& folder, std::size_t tokens, double mean) {
  std::filesystem::create_directories(folder);
  std::mt19937_64 random(1);
  std::exponential_distribution<double> length(1 / mean);
  std::vector<Stored> ids(tokens);
  for (Stored& id : ids) id = random() % kVocab;
  std::vector<uint64_t> offsets{0};
  while (offsets.back() < tokens)
    offsets.push_back(std::min<uint64_t>(tokens, offsets.back() + 1 + uint64_t(length(random))));
  const auto write = [&](const char* name, const auto& values) {
    std::ofstream(folder / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
  };
  write("0.tokens", ids);
  write("0.documents", offsets);
  const auto documents = offsets.size() - 1;
  const nlohmann::json shard{{"tokens_file", "0.tokens"},
                             {"documents_file", "0.documents"},
                             {"tokens", tokens},
                             {"documents", documents},
                             {"tokens_sha256", ""}};
  const nlohmann::json manifest{{"format", "wf-tokens"},
                                {"version", 1},
                                {"vocab_size", kVocab},
                                {"eos_token_id", 0},
                                {"tokens", tokens},
                                {"documents", documents},
                                {"tokenizer_sha256", ""},
                                {"shards", {shard}},
                                {"dtype", sizeof(Stored) == 2 ? "uint16" : "uint32"}};
  write_text(folder / "manifest.json", manifest.dump());
}

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

// Process time counts every thread's work and leaves out what other programs took of the core.
void measure(const std::string& name, DataSource& source) {
  const double tokens = double(kBatches * kShape.batch_size * kShape.sequence_length);
  std::vector<double> by_core, by_wall;
  for (int64_t repeat = -1; repeat < kRepeats; ++repeat) {  // the first one warms up
    const double core = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    for (int64_t i = 0; i < kBatches; ++i) source.next();
    if (repeat < 0) continue;
    by_core.push_back(tokens / (seconds(CLOCK_PROCESS_CPUTIME_ID) - core) / 1e6);
    by_wall.push_back(tokens / (seconds(CLOCK_MONOTONIC) - wall) / 1e6);
  }
  std::sort(by_core.begin(), by_core.end());
  std::sort(by_wall.begin(), by_wall.end());
  fmt::print("| {} | {:.0f} ({:.0f} to {:.0f}) | {:.0f} |\n", name, by_core[kRepeats / 2],
             by_core.front(), by_core.back(), by_wall[kRepeats / 2]);
}

}  // namespace

int main() {
  const TemporaryFolder folder;
  write_corpus<uint16_t>(folder / "short", 100'000'000, 250);
  write_corpus<uint16_t>(folder / "long", 100'000'000, 2000);
  write_corpus<uint32_t>(folder / "wide", 50'000'000, 1000);
  fmt::print(
      "| source | M tokens per core second: median (range) | by wall clock |\n|---|---|---|\n");
  const auto mixture = [&](std::vector<Mixture::Source> sources, int64_t size = 1) {
    DataShape shape = kShape;
    shape.size = size;
    return std::make_unique<Mixture>(Mixture::Config{std::move(sources), 1}, shape);
  };
  measure("uint16, 8 documents a row", *mixture({{folder / "short"}}));
  measure("uint16, 1 document a row", *mixture({{folder / "long"}}));
  measure("uint32, 2 documents a row", *mixture({{folder / "wide"}}));
  measure("mixture of the three",
          *mixture({{folder / "short"}, {folder / "long"}, {folder / "wide"}}));
  measure("the same, 1 rank of 64",
          *mixture({{folder / "short"}, {folder / "long"}, {folder / "wide"}}, 64));
  Prefetch ahead(mixture({{folder / "short"}, {folder / "long"}, {folder / "wide"}}));
  measure("the mixture, prefetched", ahead);
  Synthetic synthetic({}, kShape);
  measure("synthetic", synthetic);
}
