#include "train/step.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "data/synthetic.h"
#include "objective/cross_entropy.h"
#include "optim/adamw.h"
#include "parallel/single.h"
#include "tests/gpu/hopper.h"
#include "tests/io/expect_error.h"
#include "tests/nn/tiny_config.h"

#ifdef WF_CUDA
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace wf {
namespace {

DecoderConfig tiny() {
  DecoderConfig c = tiny_config();
  c.tied_head = true;
  return c;
}

// A run's parts, small.
struct Small {
  explicit Small(torch::Device device)
      : model(tiny(), {.master = torch::kFloat,
                       .compute = device.is_cuda() ? torch::kBFloat16 : torch::kFloat}),
        data({}, {.batch_size = 2, .sequence_length = 32, .vocab_size = 64}),
        parallel(device) {
    model.initialize(1);
    model.to(device);
    optimizer.emplace(AdamW::Config{}, model.trained_parameters());
    clip.emplace(Clip::Config{}, model.trained_parameters());
    step.emplace(players(objective));
  }
  Step::Players players(Objective& minimised) {
    return {.student = model,
            .teacher = nullptr,
            .objective = minimised,
            .data = data,
            .optimizer = *optimizer,
            .clip = *clip,
            .parallel = parallel,
            .parameters = model.trained_parameters(),
            .accumulate = 2};
  }
  StepReport run(int64_t i) { return step->run({.step = i, .steps = 100}, 1e-3, {}); }

  Decoder model;
  CrossEntropy objective{{}};
  Synthetic data;
  Single parallel;
  std::optional<AdamW> optimizer;
  std::optional<Clip> clip;
  std::optional<Step> step;
};

// The root of zero: a loss that is finite and has no finite gradient.
struct RootOfZero : Objective {
  Loss loss(const Trace& student, const Trace&, const Batch&, const Progress&) override {
    return {(student.hidden.square().sum() * 0).sqrt(), {}};
  }
};

void expect_no_update_after_a_bad_step(torch::Device device) {
  Small run(device);
  run.step->read(run.run(0));
  const auto parameters = run.model.trained_parameters();
  const auto& gain = run.model.blocks()[1]->mlp->ffn_sub_norm->weight;
  {
    const torch::NoGradGuard no_grad;
    gain[3] = std::numeric_limits<float>::infinity();
  }
  std::vector<torch::Tensor> before;
  for (const auto& p : parameters) before.push_back(p.value.detach().clone());
  try {
    for (int64_t i = 1; i < 5; ++i) run.run(i);  // a GPU's host may notice later
    run.step->require_finite();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 1:"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("model.embed_tokens.weight"), std::string::npos)
        << error.what();
  }
  for (size_t i = 0; i < parameters.size(); ++i)
    EXPECT_TRUE(parameters[i].value.equal(before[i])) << parameters[i].name;
}

TEST(Step, FromALossThatIsNotFiniteOnNoWeightChangesAndTheStepIsNamed) {
  expect_no_update_after_a_bad_step(torch::kCPU);
}

TEST(Step, AGradientThatIsNotFiniteStopsLikeALossThatIsNot) {
  Small run(torch::kCPU);
  const torch::Tensor before = run.model.blocks()[0]->mlp->up_proj->weight.detach().clone();
  RootOfZero objective;
  Step step(run.players(objective));
  step.run({.step = 7, .steps = 100}, 1e-3, {});
  test::expect_error([&] { step.require_finite(); },
                     {"step 7: the loss is 0 ", "not finite: model.embed_tokens.weight"});
  EXPECT_TRUE(run.model.blocks()[0]->mlp->up_proj->weight.equal(before));
}

TEST(StepGpu, FromALossThatIsNotFiniteOnNoWeightChangesAndTheStepIsNamed) {
  WF_REQUIRE_HOPPER();
  expect_no_update_after_a_bad_step(torch::kCUDA);
}

TEST(StepGpu, WaitsForTheDeviceInNoneOfFiftySteps) {
  WF_REQUIRE_HOPPER();
#ifdef WF_CUDA
  for (const bool kernels : {true, false}) {
    Small run(torch::kCUDA);
    if (kernels) run.model.set_int8({true, true, true, {}});
    const double first = run.step->read(run.run(0)).loss;
    c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR);
    StepReport last;
    for (int64_t i = 1; i <= 50; ++i) last = run.run(i);
    c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED);
    EXPECT_LT(run.step->read(last).loss, first + 0.1);
  }
#endif
}

}  // namespace
}  // namespace wf
