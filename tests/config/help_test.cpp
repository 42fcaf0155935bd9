#include <gtest/gtest.h>

#include "tests/config/example.h"

namespace wf::example {
namespace {

TEST(Help, ShowsEveryKindAndWhatIsInsideOfLists) {
  EXPECT_EQ(
      config::explain<RunConfig>("objective"),
      R"(key                                             type                 default        help
objective.kind                                  choice               cross_entropy  what is minimised
objective.kind=cross_entropy                                                        next-token prediction
objective.z_loss                                float                0.0            weight of the penalty
objective.kind=layerwise                                                            match hidden states
objective.weights                               uniform|progressive  progressive    how layers are weighted against one another
objective.temperature                           float                1.0            softmax temperature
objective.kind=sum                                                                  several, weighted
objective.terms                                 section list         (required)     the summands
objective.terms[].weight                        float                1.0            factor
objective.terms[].objective.kind                choice               (required)     what to add
objective.terms[].objective.kind=cross_entropy                                      next-token prediction
objective.terms[].objective.z_loss              float                0.0            weight of the penalty
objective.terms[].objective.kind=layerwise                                          match hidden states
objective.terms[].objective.weights             uniform|progressive  progressive    how layers are weighted against one another
objective.terms[].objective.temperature         float                1.0            softmax temperature
objective.terms[].objective.kind=sum                                                several, weighted
)");
}

TEST(Help, AlignsKeyTypeDefaultAndHelp) {
  EXPECT_EQ(config::explain<RunConfig>("optim"),
            R"(key                 type           default      help
optim               section                     optimizer
optim.lr            float          0.001        peak learning rate
optim.warmup_steps  int            100          linear warm-up
optim.clip          float or null  1.0          gradient-norm ceiling; null: none
optim.betas         float list     [0.9, 0.95]  moment decays
)");
}

TEST(Help, CoversAllSectionsAndSingleOptions) {
  const std::string all = config::explain<RunConfig>();
  for (const char* line : {"name ", "optim.betas ", "teacher.folder ", "objective.terms[].weight "})
    EXPECT_NE(all.find(std::string("\n") + line), std::string::npos) << line << "\n" << all;
  EXPECT_EQ(config::explain<RunConfig>("teacher.folder"),
            "key             type  default     help\n"
            "teacher.folder  path  (required)  its checkpoint\n");
}

TEST(Help, UnknownSectionsAreRefusedWithASuggestion) {
  EXPECT_EQ(complaint([] { config::explain<RunConfig>("optin"); }),
            "there is no section or option 'optin'; did you mean 'optim'?");
  EXPECT_EQ(complaint([] { config::explain<RunConfig>("objectiv"); }),
            "there is no section or option 'objectiv'; did you mean 'objective'?");
  EXPECT_EQ(complaint([] { config::explain<RunConfig>("opt"); }),
            "there is no section or option 'opt'");
}

}  // namespace
}  // namespace wf::example
