#include "train/estimate.h"

#include <gtest/gtest.h>

#include "config/load.h"
#include "tests/base/temporary_folder.h"

namespace wf {
namespace {

// Of models that fill a GPU; their masters are allocated and never touched.
DecoderConfig smollm2_135m() {
  DecoderConfig c;
  c.vocab_size = 49152, c.hidden_size = 576, c.intermediate_size = 1536, c.num_layers = 30;
  c.num_heads = 9, c.num_kv_heads = 3, c.head_dim = 64;
  c.sub_norm = c.tied_head = true;
  return c;
}

DecoderConfig qwen3_600m() {
  DecoderConfig c;
  c.vocab_size = 151936, c.hidden_size = 1024, c.intermediate_size = 3072, c.num_layers = 28;
  c.num_heads = 16, c.num_kv_heads = 8, c.head_dim = 128;
  c.sub_norm = c.tied_head = c.qk_norm = true;
  return c;
}

DecoderConfig bitnet_2b() {
  DecoderConfig c;
  c.vocab_size = 128256, c.hidden_size = 2560, c.intermediate_size = 6912, c.num_layers = 30;
  c.num_heads = 20, c.num_kv_heads = 5, c.head_dim = 128;
  c.sub_norm = c.tied_head = true;
  return c;
}

struct Measured {
  std::string what;
  DecoderConfig model;
  std::vector<std::string> settings;
  bool kernels;
  double gb;  // in use after the steps, the context of the device included
};

// tests/bench/results/train_kernels.md and train_aten.md: one H200.
TEST(EstimateMemory, IsWithinATenthOfWhatAGpuWasSeenToTake) {
  constexpr double kContext = 0.5;
  const TemporaryFolder folder;
  folder.write("run.yaml",
               "name: x\nmodel: {path: x}\ndata: {kind: synthetic}\nsteps: 100\n"
               "lr: {warmup_steps: 0}\nbatch: {sequence_length: 2048}\n"
               "quant: {weights: {value: 1}, activations: {value: 1}}\n");
  const std::vector<std::string> full = {"quant.weights.value=0", "quant.activations.value=0"};
  const auto with = [](std::vector<std::string> a, const std::vector<std::string>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  for (const Measured& m : std::vector<Measured>{
           {"SmolLM2", smollm2_135m(), {"batch.rows=32"}, true, 32.9},
           {"SmolLM2, λ = 0", smollm2_135m(), with({"batch.rows=32"}, full), true, 40.2},
           {"SmolLM2, recomputed", smollm2_135m(), {"batch.rows=64", "recompute=true"}, true, 11.2},
           {"Qwen3", qwen3_600m(), {"batch.rows=8"}, true, 31.8},
           {"BitNet", bitnet_2b(), {"batch.rows=4"}, true, 55.7},
           {"SmolLM2, plain", smollm2_135m(), {"batch.rows=32"}, false, 48.6},
           {"SmolLM2, plain, 64 rows", smollm2_135m(), {"batch.rows=64"}, false, 93.0},
           {"SmolLM2, plain, λ = 0", smollm2_135m(), with({"batch.rows=32"}, full), false, 48.5},
           {"SmolLM2, plain, recomputed",
            smollm2_135m(),
            {"batch.rows=128", "recompute=true"},
            false,
            27.5},
           {"Qwen3, plain", qwen3_600m(), {"batch.rows=8"}, false, 44.6}}) {
    const Decoder model(m.model, {.master = torch::kFloat, .compute = torch::kBFloat16});
    const auto config = config::load<RunConfig>(folder / "run.yaml", m.settings);
    const double gb =
        double(estimate_training(model, nullptr, config, m.kernels).total()) / 1e9 + kContext;
    EXPECT_NEAR(gb, m.gb, 0.1 * m.gb) << m.what;
  }
}

}  // namespace
}  // namespace wf
