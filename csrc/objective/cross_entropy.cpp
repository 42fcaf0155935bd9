#include "objective/cross_entropy.h"

#include <torch/torch.h>

#include "ops/linear_cross_entropy.h"

namespace wf {

Loss CrossEntropy::loss(const Trace& student, const Trace&, const Batch& batch, const Progress&) {
  const auto loss =
      ops::linear_cross_entropy(student.hidden.flatten(0, 1), student.head, batch.labels.flatten(),
                                batch.valid_labels, Batch::kIgnore);
  return {loss, {{"cross_entropy", loss.detach()}}};
}

}  // namespace wf
