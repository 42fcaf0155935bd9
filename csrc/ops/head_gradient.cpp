#include "ops/head_gradient.h"

#include <torch/torch.h>

namespace wf::ops {

using torch::Tensor;

HeadGradient::HeadGradient(const Tensor& hidden, const Tensor& master, bool wanted) {
  if (!wanted) return;
  hidden_gradient = torch::empty_like(hidden);
  head_gradient = torch::zeros_like(master);
}

void HeadGradient::add(const Tensor& dlogits, const Tensor& hidden, const Tensor& head,
                       int64_t begin) {
  const int64_t end = begin + dlogits.size(0);
  const Tensor narrow = dlogits.to(hidden.scalar_type());
  const Tensor x = hidden.slice(0, begin, end);
  Tensor here = hidden_gradient.slice(0, begin, end);
  at::mm_out(here, narrow, head);
  const auto wide = head_gradient.scalar_type();
  if (wide == hidden.scalar_type())
    head_gradient.addmm_(narrow.t(), x);
  else if (hidden.is_cuda())
    at::addmm_out(head_gradient, head_gradient, narrow.t(), x, wide);
  else
    head_gradient.addmm_(narrow.t().to(wide), x.to(wide));
}

}  // namespace wf::ops
