#include "train/narrator.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/base/temporary_folder.h"

namespace wf {
namespace {

constexpr double kFlopsPerToken = 2e9;

nlohmann::json logged(const Hardware& hardware) {
  const TemporaryFolder folder;
  {
    Metrics metrics(folder / "metrics.jsonl", true);
    Narrator narrator(hardware, metrics, kFlopsPerToken, /*first_step=*/4, /*steps=*/9);
    narrator.after_step(64);
    narrator.report({.step = 4, .steps = 9, .tokens = 256}, 64,
                    {.loss = 2, .grad_norm = 0.5, .parts = {{"cross_entropy", 2}}}, 1e-3, 0.25,
                    true);
  }
  return nlohmann::json::parse(read_text(folder / "metrics.jsonl"));
}

TEST(Narrator, ALineOfTheMetricsHasAllThatAPersonSees) {
  Hardware known;
  known.peak_flops = 1e12;
  const auto line = logged(known);
  std::vector<std::string> keys;
  for (const auto& item : line.items()) keys.push_back(item.key());
  EXPECT_EQ(keys,
            (std::vector<std::string>{// by alphabet
                                      "elapsed_s", "grad_norm", "kind", "loss", "lr", "memory_gb",
                                      "parts", "peak_share", "quant", "remaining_s", "step",
                                      "tflops", "tokens", "tokens_per_s"}));
  EXPECT_EQ(line["step"], 5);
  EXPECT_EQ(line["tokens"], 320);
  const double tflops = line["tokens_per_s"].get<double>() * kFlopsPerToken / 1e12;
  EXPECT_NEAR(line["tflops"], tflops, 1e-9 * tflops);
  EXPECT_NEAR(line["peak_share"], tflops, 1e-9 * tflops);  // the peak is one TFLOP/s
  // One step of this process's five is done.
  EXPECT_NEAR(line["remaining_s"], 4 * line["elapsed_s"].get<double>(), 1e-9);
}

TEST(Narrator, TheShareOfThePeakIsNeverAGuess) { EXPECT_FALSE(logged({}).contains("peak_share")); }

}  // namespace
}  // namespace wf
