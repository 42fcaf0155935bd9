#include "objective/logits_kl.h"

#include <torch/torch.h>

#include "ops/linear_kl.h"

namespace wf {

Loss LogitsKl::loss(const Trace& student, const Trace& teacher, const Batch& batch,
                    const Progress&) {
  const auto loss = ops::linear_kl(
      {student.hidden.flatten(0, 1), student.head}, {teacher.hidden.flatten(0, 1), teacher.head},
      batch.labels.flatten(), batch.valid_labels, Batch::kIgnore, config_.temperature);
  return {loss, {{"logits_kl", loss.detach()}}};
}

}  // namespace wf
