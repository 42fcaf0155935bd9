// Distillation on logits, head included, chunk by chunk: neither side's logits [N, V] are ever
// stored. Hinton, Vinyals, Dean, arXiv:1503.02531.
#pragma once
#include <torch/types.h>

namespace wf::ops {

struct HeadInput {
  torch::Tensor hidden;  // [N, D]; teacher and student may differ in D
  torch::Tensor head;    // [V, D]
};

// T²·KL(softmax(teacher/T) ‖ softmax(student/T)), the mean over rows whose label is not `ignore`;
// 0-dim. The student's gradient is made in forward; the teacher gets none. `valid`: rows that
// count.
torch::Tensor linear_kl(const HeadInput& student, const HeadInput& teacher,
                        const torch::Tensor& labels, int64_t valid, int64_t ignore,
                        double temperature, int64_t chunk_rows = 4096);

}  // namespace wf::ops
