// A few parameters of every role and gradients for them, the same in every test and every process.
#pragma once
#include <torch/torch.h>

#include <filesystem>
#include <string>
#include <vector>

#include "io/state_file.h"
#include "io/tensor_file.h"
#include "optim/optimizer.h"
#include "tests/base/temporary_folder.h"

namespace wf::test {

inline std::vector<Parameter> example_parameters() {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/7);
  auto make = [&](const char* name, std::vector<int64_t> shape, Role role) {
    return Parameter{name, torch::randn(shape, generator).requires_grad_(), role};
  };
  return {make("embedding", {50, 16}, Role::kEmbedding),
          make("head", {50, 16}, Role::kHead),
          make("norm", {16}, Role::kNorm),
          make("bias", {24}, Role::kBias),
          make("tall", {24, 16}, Role::kLinear),
          make("wide", {16, 40}, Role::kLinear),
          make("square", {32, 32}, Role::kLinear)};
}

// Gradients of step `step`; their size varies by parameter and step, as in life.
inline void set_gradients(const std::vector<Parameter>& parameters, int64_t step) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1000 + step);
  double size = 1e-3 * static_cast<double>(1 + step % 3);
  for (Parameter p : parameters) {
    p.value.mutable_grad() = torch::randn(p.value.sizes(), generator) * size;
    size *= 4;
  }
}

// The steps from .. to-1 of a training run.
inline void train(Optimizer& optimizer, const std::vector<Parameter>& parameters, int64_t from,
                  int64_t to) {
  for (int64_t step = from; step < to; ++step) {
    set_gradients(parameters, step);
    optimizer.step(1e-2 * static_cast<double>(step + 1) / 20);
  }
}

// Writes start.safetensors and gradients_0.safetensors .. for a reference in Python.
inline void save_example(const std::filesystem::path& folder, int64_t steps) {
  const auto parameters = example_parameters();
  auto save = [&](const std::string& name, auto tensor_of) {
    std::vector<NamedTensor> tensors;
    for (const Parameter& p : parameters) tensors.push_back({p.name, tensor_of(p.value)});
    write_safetensors(folder / (name + ".safetensors"), tensors);
  };
  save("start", [](const torch::Tensor& value) { return value.detach(); });
  for (int64_t step = 0; step < steps; ++step) {
    set_gradients(parameters, step);
    save("gradients_" + std::to_string(step),
         [](const torch::Tensor& value) { return value.grad(); });
  }
}

// Hands the state of `from` to `to` through files, as a checkpoint does.
void resume(auto& from, auto& to) {
  const TemporaryFolder folder;
  StateSaver saver;
  from.state(saver);
  write_safetensors(folder / "state.safetensors", saver.tensors());
  folder.write("state.json", saver.numbers().dump());
  StateLoader loader(folder / "state.safetensors", folder / "state.json");
  to.state(loader);
  loader.finish();
}

// The start of a reference: `start`, `gradients` (a list of dicts) and lr(step).
inline constexpr const char* kReadExample = R"(
import glob, torch
from safetensors.torch import load_file, save_file
start = load_file("start.safetensors")
gradients = [load_file(f"gradients_{i}.safetensors") for i in range(len(glob.glob("gradients_*")))]
def lr(step): return 1e-2 * (step + 1) / 20
def fresh(): return {n: torch.nn.Parameter(t.clone()) for n, t in start.items()}
def train(params, *optimizers):
    for step, grads in enumerate(gradients):
        for optimizer in optimizers:
            for g in optimizer.param_groups: g["lr"] = lr(step) * g.get("multiplier", 1)
        for n, p in params.items(): p.grad = grads[n].clone()
        for optimizer in optimizers: optimizer.step()
    return {n: p.detach() for n, p in params.items()}
)";

}  // namespace wf::test
