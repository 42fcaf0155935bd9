#include "train/kernel_choice.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include <cstdlib>

#include "base/error.h"
#include "ops/attention.h"
#include "train/quant_use.h"

namespace wf {

namespace {

// Why this machine and run cannot use the int8 kernels; empty when they can.
std::string machine_problem(const RunConfig& config, const Hardware& hardware) {
  if (!hardware.device.is_cuda()) return "they need a GPU";
  if (!hardware.kernels) return fmt::format("{} is no Hopper GPU (H100, H200)", hardware.name);
  if (hardware.precision.compute != torch::kBFloat16) return "they compute in bf16";
  const int64_t tokens = config.batch.rows * config.batch.sequence_length;
  if (tokens % FusedBlock::kTokenMultiple != 0)
    return fmt::format("batch.rows times batch.sequence_length is {}, no multiple of {}", tokens,
                       FusedBlock::kTokenMultiple);
  return {};
}

// The passes of such a run that the kernels cannot serve; empty when there are none.
std::string exceptions(const RunConfig& config) {
  std::string out;
  if (quant_use(config.quant, config.steps).mixed)
    out += "; steps at which only one λ is 1: plain operations";
  if (!config.evaluate.path.empty() &&
      config.batch.sequence_length % FusedBlock::kTokenMultiple != 0)
    out += fmt::format(
        "; a last batch of held-out rows whose tokens are no multiple of {}: plain operations",
        FusedBlock::kTokenMultiple);
  return out;
}

std::string_view attention(const RunConfig& config, const DecoderConfig& model) {
  if (model.head_dim == ops::kAttentionKernelHeadDim)
    return "cuDNN (packed documents: flash), its backward by our kernel";
  return config.deterministic ? "flash, deterministic" : "cuDNN (packed documents: flash)";
}

}  // namespace

void require_deterministic_operations() {
  auto& context = at::globalContext();
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  // For attention without a kernel of ours: cuDNN's backward is not deterministic; flash is, when
  // asked.
  context.setSDPUseCuDNN(false);
  context.setSDPUseMemEfficient(false);
}

KernelChoice choose_kernels(const RunConfig& config, const Hardware& hardware,
                            const DecoderConfig& model) {
  for (const int64_t layer : config.bf16_weight_gradient_layers)
    if (layer < 0 || layer >= model.num_layers)
      fail("bf16_weight_gradient_layers: the model has no block {}; its blocks are 0 to {}", layer,
           model.num_layers - 1);
  using enum TernaryProducts;
  constexpr std::string_view kReferenceText =
      "ternary linears: plain operations (precision reference)";
  if (config.precision == kReference) return {{}, std::string(kReferenceText)};
  std::string problem = machine_problem(config, hardware);
  if (problem.empty()) problem = kernels_problem(model);
  if (!problem.empty())
    return {{}, fmt::format("{}, not the int8 kernels: {}", kReferenceText, problem)};

  const bool backward = config.precision == kInt8;
  KernelChoice out;
  out.int8 = {.forward = true,
              .input_gradient = backward,
              .weight_gradient = backward && config.weight_gradient == WeightGradient::kInt8,
              .bf16_weight_gradient_layers = config.bf16_weight_gradient_layers};
  std::string weight = out.int8.weight_gradient ? "int8" : "bf16";
  const size_t bf16_layers = config.bf16_weight_gradient_layers.size();
  if (out.int8.weight_gradient && bf16_layers > 0)
    weight += fmt::format(", bf16 in {} blocks", bf16_layers);
  out.text = fmt::format(
      "ternary linears at λ = 1: forward int8, dX {}, dW {}{}; norms fused with their quantisers; "
      "attention by {}{}",
      backward ? "int8" : "bf16", weight,
      backward ? " (int8 gradients by stochastic rounding)" : "", attention(config, model),
      exceptions(config));
  return out;
}

}  // namespace wf
