#include "train/profile.h"

#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/torch.h>

#include <set>

namespace wf {

namespace {

using torch::profiler::impl::ActivityType;

const std::set<ActivityType> kActivities{ActivityType::CPU, ActivityType::CUDA};

void wait_for_gpu() {
  if (torch::cuda::is_available()) torch::cuda::synchronize();
}

}  // namespace

Profile::Profile() {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  torch::autograd::profiler::prepareProfiler(config, kActivities);
  wait_for_gpu();
  torch::autograd::profiler::enableProfiler(config, kActivities);
}

void Profile::save(const std::filesystem::path& file) {
  wait_for_gpu();
  torch::autograd::profiler::disableProfiler()->save(file.string());
}

}  // namespace wf
