// Logits and gradients of every family against transformers, on random tiny models (reference.py).
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <filesystem>

#include "formats/safetensors.h"
#include "io/tensor_file.h"
#include "model/load.h"
#include "ops/linear_cross_entropy.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

const fs::path& reference_folder() {
  static const fs::path folder = [] {
    const fs::path out = fs::path(WF_BINARY_DIR) / "parity_reference";
    const std::string command = std::string(WF_PYTHON) + " " + WF_SOURCE_DIR +
                                "/tests/model/reference.py " + out.string() + " 2>&1";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
    return out;
  }();
  return folder;
}

// One row that holds all the documents: our packed form of what transformers ran apart.
Batch packed_batch(const Safetensors& reference) {
  const Tensor tokens = as_torch(reference.tensor("tokens")),
               lengths = as_torch(reference.tensor("lengths"));
  Batch batch;
  batch.tokens = tokens.unsqueeze(0);
  batch.starts = torch::cat({torch::zeros({1}, torch::kLong), lengths.cumsum(0)}).to(torch::kInt);
  batch.device_starts = batch.starts;
  batch.longest = lengths.max().item<int64_t>();
  std::vector<Tensor> positions, labels;
  for (const Tensor& document : tokens.split_with_sizes(
           std::vector<int64_t>(lengths.const_data_ptr<int64_t>(),
                                lengths.const_data_ptr<int64_t>() + lengths.numel()))) {
    positions.push_back(torch::arange(document.numel()));
    labels.push_back(torch::cat({document.slice(0, 1), torch::full({1}, Batch::kIgnore)}));
  }
  batch.positions = torch::cat(positions).unsqueeze(0);
  batch.labels = torch::cat(labels).unsqueeze(0);
  batch.valid_labels = tokens.numel() - lengths.numel();
  return batch;
}

double relative_error(const Tensor& value, const Tensor& truth) {
  return ((value - truth).norm() / truth.norm()).item<double>();
}

struct Case {
  const char* name;
  double quant;
  // fp32 sums in another order: 1e-5 and 1e-4. Quantised, such a last bit can move an activation
  // across a rounding tie, which is one int8 step of one element: bounded by a few per cent, and
  // rare.
  double logits_tolerance = 1e-5, gradient_tolerance = 1e-4;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Parity : public testing::TestWithParam<Case> {
 protected:
  fs::path folder() const { return reference_folder() / GetParam().name; }
  Safetensors reference() const { return Safetensors(folder().string() + ".safetensors"); }
  Pass pass() const {
    return {.taps = {}, .weight_quant = GetParam().quant, .activation_quant = GetParam().quant};
  }
};

TEST_P(Parity, PackedLogitsAndGradientsEqualTransformersRunPerDocument) {
  const auto truth = reference();
  const auto model = load_decoder(HfFolder(folder()), {});
  const Batch batch = packed_batch(truth);
  const Trace trace = model->forward(batch, pass());
  const Tensor hidden = trace.hidden.flatten(0, 1);
  EXPECT_LE(relative_error(hidden.mm(trace.head.t()), as_torch(truth.tensor("logits"))),
            GetParam().logits_tolerance);

  ops::linear_cross_entropy(hidden, trace.head, batch.labels.flatten(), batch.valid_labels,
                            Batch::kIgnore, 16)
      .backward();
  for (const auto& parameter : model->trained_parameters()) {
    ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
    EXPECT_LE(
        relative_error(parameter.value.grad(), as_torch(truth.tensor("grad." + parameter.name))),
        GetParam().gradient_tolerance)
        << parameter.name;
  }
}

TEST_P(Parity, RecomputedBlocksGiveTheSameGradients) {
  const auto truth = reference();
  const Batch batch = packed_batch(truth);
  std::vector<std::vector<Tensor>> gradients;
  for (const bool recompute : {false, true}) {
    const auto model = load_decoder(HfFolder(folder()), {});
    Pass p = pass();
    p.recompute_blocks = recompute;
    model->forward(batch, p).hidden.square().sum().backward();
    auto& list = gradients.emplace_back();
    for (const auto& parameter : model->trained_parameters())
      if (parameter.value.grad().defined()) list.push_back(parameter.value.grad());
  }
  ASSERT_EQ(gradients[0].size(), gradients[1].size());
  for (size_t i = 0; i < gradients[0].size(); ++i)
    EXPECT_TRUE(torch::equal(gradients[0][i], gradients[1][i]));
}

// The parity above means something only if it notices a missing part.
TEST_P(Parity, NoticesMissingPositions) {
  const auto truth = reference();
  const auto model = load_decoder(HfFolder(folder()), {});
  Batch batch = packed_batch(truth);
  batch.positions = torch::zeros_like(batch.positions);
  const torch::NoGradGuard no_grad;
  const Trace trace = model->forward(batch, pass());
  EXPECT_GT(relative_error(trace.hidden.flatten(0, 1).mm(trace.head.t()),
                           as_torch(truth.tensor("logits"))),
            0.05);
}

INSTANTIATE_TEST_SUITE_P(
    Families, Parity,
    testing::Values(Case{"llama", 0}, Case{"llama_biases", 0}, Case{"llama_llama3_rope", 0},
                    Case{"llama_llama3_rope_old_spelling", 0}, Case{"llama_linear_rope", 0},
                    Case{"qwen2", 0}, Case{"qwen3", 0}, Case{"bitnet_silu", 0},
                    Case{"bitnet_relu2", 0}, Case{"bitnet_online", 1, 2e-2, 1e-1}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace wf
