#include "ops/ternary_store.h"

#include <torch/torch.h>

#include "base/error.h"
#include "ops/bit_matmul.h"

#ifdef WF_CUDA
#include "kernels/ternarize.h"
#include "ops/launch.h"
#endif

namespace wf::ops {

using torch::Tensor;

#ifdef WF_CUDA

struct TernaryStore::Plan {
  kernels::TernarizePlan shape;
  Tensor matrices;       // the planned list of kernels::TernaryMatrix, as bytes on the device
  Tensor absolute_sums;  // fp64
  int count = 0;
};

TernaryStore::TernaryStore(const std::vector<std::vector<Tensor>>& groups)
    : plan_(std::make_unique<Plan>()) {
  std::vector<kernels::TernaryMatrix> list;
  for (const auto& weights : groups) {
    TernaryGroup& group = groups_.emplace_back();
    group.weights = weights;
    for (const Tensor& weight : weights)
      group.ends.push_back((group.ends.empty() ? 0 : group.ends.back()) + weight.size(0));
    const int64_t rows = group.ends.back(), columns = weights[0].size(1);
    const auto options = weights[0].options().requires_grad(false);
    group.codes = torch::empty({rows, columns}, options.dtype(torch::kChar));
    group.codes_transposed = torch::empty({columns, rows}, options.dtype(torch::kChar));
    group.deltas = torch::empty({int64_t(weights.size())}, options);
    for (size_t i = 0; i < weights.size(); ++i) {
      const int64_t first = group.ends[i] - weights[i].size(0);
      list.push_back({.weight = weights[i].const_data_ptr<float>(),
                      .codes = group.codes.data_ptr<int8_t>() + first * columns,
                      .codes_transposed = group.codes_transposed.data_ptr<int8_t>() + first,
                      .packed = nullptr,
                      .delta = group.deltas.data_ptr<float>() + i,
                      .rows = int(weights[i].size(0)),
                      .columns = int(columns),
                      .transposed_pitch = int(rows),
                      .first_tile = 0,
                      .first_chunk = 0});
    }
  }
  plan_->count = int(list.size());
  plan_->shape = kernels::plan_ternarize(list.data(), plan_->count);
  if (plan_->shape.tiles == 0)
    fail("ternary matrices for the int8 kernels need sides that are multiples of 16");
  const auto options = torch::dtype(torch::kByte);
  plan_->matrices = torch::from_blob(list.data(), {int64_t(list.size() * sizeof(list[0]))}, options)
                        .to(groups_[0].codes.device());
  plan_->absolute_sums =
      torch::empty({plan_->shape.chunks}, groups_[0].deltas.options().dtype(torch::kDouble));
}

void TernaryStore::make_codes() {
  const auto* list = reinterpret_cast<const kernels::TernaryMatrix*>(plan_->matrices.data_ptr());
  auto* sums = plan_->absolute_sums.data_ptr<double>();
  launched(kernels::sum_weights(list, plan_->count, plan_->shape, sums, current_stream()),
           "sum_weights");
  launched(kernels::ternarize(list, plan_->count, plan_->shape, sums, current_stream()),
           "ternarize");
}

void TernaryStore::refresh(double quant) {
  const torch::NoGradGuard no_grad;
  int64_t version = 0;
  for (const TernaryGroup& group : groups_)
    for (const Tensor& weight : group.weights) version += weight._version();
  if (quant == 1) {
    for (TernaryGroup& group : groups_) group.blend = Tensor();
    blend_version_ = -1;
    if (std::exchange(codes_version_, version) != version) make_codes();
    return;
  }
  if (std::exchange(blend_version_, version) == version &&
      std::exchange(blend_quant_, quant) == quant)
    return;
  blend_quant_ = quant;
  for (TernaryGroup& group : groups_) {
    std::vector<Tensor> parts;
    for (const Tensor& weight : group.weights)
      parts.push_back(prepare_columns(weight, quant, torch::kBFloat16).operand);
    group.blend = parts.size() == 1 ? parts[0] : torch::cat(parts);
  }
}

#else

struct TernaryStore::Plan {};
TernaryStore::TernaryStore(const std::vector<std::vector<Tensor>>&) {
  fail("this build has no CUDA kernels");
}
void TernaryStore::make_codes() {}
void TernaryStore::refresh(double) {}

#endif

TernaryStore::~TernaryStore() = default;

}  // namespace wf::ops
