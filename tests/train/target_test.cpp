// What an engine cannot load is said before the run, with the way out. The graphs themselves are
// compared with the engines in tests/exporter/gguf_export_test.cpp.
#include "train/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/expect_error.h"

namespace wf {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

DecoderConfig fitting() {
  DecoderConfig c;
  c.hidden_size = 256, c.intermediate_size = 512;
  c.num_heads = 4, c.num_kv_heads = 2, c.head_dim = 64;
  c.sub_norm = c.tied_head = true;
  return c;
}

TEST(Target, EveryEngineTakesATiedLlamaWithSubLN) {
  for (const Target target :
       {Target::kNone, Target::kTransformers, Target::kLlamaCpp, Target::kMicrosoft})
    EXPECT_THAT(target_problems(fitting(), target), IsEmpty());
}

TEST(Target, LlamaCppHasNoGraphForSubLNBesideQkNorm) {
  DecoderConfig qwen3 = fitting();
  qwen3.qk_norm = true;
  EXPECT_THAT(target_problems(qwen3, Target::kLlamaCpp),
              ElementsAre(AllOf(HasSubstr("no graph has both SubLN and q/k-norm"),
                                HasSubstr("insert.sub_norms=none"))));
  EXPECT_THAT(target_problems(qwen3, Target::kTransformers), IsEmpty());
  qwen3.sub_norm = false;
  EXPECT_THAT(target_problems(qwen3, Target::kLlamaCpp), IsEmpty());
}

TEST(Target, ABitnetGraphTakesTheEmbeddingAsTheHead) {
  DecoderConfig untied = fitting();
  untied.tied_head = false;
  for (const Target target : {Target::kLlamaCpp, Target::kMicrosoft})
    EXPECT_THAT(target_problems(untied, target),
                ElementsAre(HasSubstr("train with tie_word_embeddings true")));
}

TEST(Target, WidthsMustBeDividedByTheBlocksOfATernaryType) {
  DecoderConfig smollm2 = fitting();
  smollm2.hidden_size = 576, smollm2.intermediate_size = 1536;
  smollm2.num_heads = 9, smollm2.num_kv_heads = 3;
  EXPECT_THAT(target_problems(smollm2, Target::kLlamaCpp), IsEmpty());
  const auto problem =
      AllOf(HasSubstr("blocks of 128 weights"), HasSubstr("576 inputs"), HasSubstr("target=none"));
  EXPECT_THAT(target_problems(smollm2, Target::kMicrosoft), ElementsAre(problem));
  test::expect_error([&] { require_target(smollm2, Target::kMicrosoft); },
                     {"target microsoft cannot load this model"});
}

}  // namespace
}  // namespace wf
