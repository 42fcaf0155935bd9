// What the start of a run says about who computes what. No GPU is touched.
#include "train/kernel_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/expect_error.h"

namespace wf {
namespace {

using testing::HasSubstr;
using testing::Not;

DecoderConfig model() {
  DecoderConfig c;
  c.vocab_size = 512, c.hidden_size = 64, c.intermediate_size = 128, c.num_layers = 2;
  c.num_heads = 2, c.num_kv_heads = 1, c.head_dim = 32;
  c.sub_norm = true;
  return c;
}

Hardware hopper() {
  Hardware h;
  h.device = torch::kCUDA;
  h.precision = {.master = torch::kFloat, .compute = torch::kBFloat16};
  h.name = "NVIDIA H200";
  h.kernels = true;
  return h;
}

RunConfig run(const std::string& text = "") {
  return config::parse<RunConfig>("name: x\nmodel: {path: x}\ndata: {kind: synthetic}\n" + text);
}

std::string told(const RunConfig& config, const Hardware& hardware = hopper(),
                 const DecoderConfig& c = model()) {
  const KernelChoice choice = choose_kernels(config, hardware, c);
  EXPECT_EQ(choice.int8.forward, choice.text.find("plain operations (") == std::string::npos);
  return choice.text;
}

TEST(KernelChoice, OnHopperTheKernelsServe) {
  EXPECT_THAT(told(run()), HasSubstr("forward int8, dX int8, dW int8 ("));
  EXPECT_THAT(told(run("precision: int8_forward\n")), HasSubstr("dX bf16, dW bf16;"));
}

TEST(KernelChoice, NamesWhoComputesAttention) {
  EXPECT_THAT(told(run()), HasSubstr("attention by cuDNN (packed documents: flash)"));
  EXPECT_THAT(told(run("deterministic: true\n")), HasSubstr("attention by flash, deterministic"));
  DecoderConfig narrow = model();
  narrow.head_dim = 64;
  for (const char* text : {"", "deterministic: true\n"})
    EXPECT_THAT(told(run(text), hopper(), narrow), HasSubstr("its backward by our kernel"));
}

TEST(KernelChoice, SaysWhyTheyDoNot) {
  Hardware other = hopper();
  other.kernels = false, other.name = "NVIDIA A100";
  EXPECT_THAT(told(run(), other), HasSubstr("NVIDIA A100 is no Hopper GPU"));
  EXPECT_THAT(told(run(), Hardware{}), HasSubstr("they need a GPU"));
  Hardware wide = hopper();
  wide.precision.compute = torch::kFloat;
  EXPECT_THAT(told(run(), wide), HasSubstr("they compute in bf16"));
  EXPECT_THAT(told(run("batch: {rows: 3, sequence_length: 100}\n")),
              HasSubstr("is 300, no multiple of 16"));
  DecoderConfig bare = model();
  bare.sub_norm = false;
  EXPECT_THAT(told(run(), hopper(), bare), HasSubstr("(run stage 1)"));
  EXPECT_THAT(told(run("precision: reference\n")), HasSubstr("(precision reference)"));
}

TEST(KernelChoice, NamesThePassesThatThePlainOperationsServeAllTheSame) {
  EXPECT_THAT(told(run()), Not(HasSubstr("plain operations")));
  EXPECT_THAT(told(run("quant: {activations: {value: 0}}\n")),
              HasSubstr("steps at which only one λ is 1: plain operations"));
  const std::string odd = "batch: {rows: 4, sequence_length: 100}\n";
  EXPECT_THAT(told(run(odd)), Not(HasSubstr("held-out")));
  EXPECT_THAT(told(run(odd + "evaluate: {path: y}\n")),
              HasSubstr("a last batch of held-out rows whose tokens are no multiple of 16"));
}

TEST(KernelChoice, ABlockThatIsNotThereIsRefusedOnAnyMachine) {
  test::expect_error(
      [] { choose_kernels(run("bf16_weight_gradient_layers: [2]\n"), Hardware{}, model()); },
      {"the model has no block 2; its blocks are 0 to 1"});
}

}  // namespace
}  // namespace wf
