#include "train/estimate.h"

#include <algorithm>

namespace wf {

namespace {

struct Widths {
  int64_t hidden, q, kv, ffn, master, compute;  // the last two in bytes
  bool sub_norm, qk_norm;
};

// Bytes that one block keeps for backward, per token; what each op saves is said in csrc/ops.
int64_t kept_per_token(const Widths& w) {
  const int64_t half_block_input = w.hidden * w.compute;  // the norm's input
  const int64_t rows = 2 * w.hidden * w.compute;          // of q/k/v and of gate/up
  const int64_t normed = w.qk_norm ? (w.q + w.kv) * w.compute : 0;
  const int64_t qkv = (w.q + 2 * w.kv) * w.compute;  // attention's inputs
  const int64_t mixed =
      w.q * w.compute * (w.sub_norm ? 2 : 1) + w.q * w.compute;  // its output, o_proj's rows
  const int64_t gated = 2 * w.ffn * w.compute;
  const int64_t down = w.ffn * w.compute * (w.sub_norm ? 2 : 1);
  return 2 * half_block_input + rows + normed + qkv + mixed + gated + down;
}

// The same by the kernels: bf16 rows, their int8 codes, two fp32 numbers a row and norm.
int64_t kept_per_token_by_kernels(const Widths& w) {
  const int64_t norms = 3 * (w.hidden + w.q + w.hidden) + 4 * 2 * sizeof(float);
  const int64_t qkv = 2 * (w.q + 2 * w.kv) + (w.qk_norm ? 2 * (w.q + w.kv) : 0);
  const int64_t feed_forward = 2 * 2 * w.ffn + w.ffn;
  return norms + qkv + feed_forward;
}

}  // namespace

MemoryEstimate estimate_memory(const Decoder& model, const RunConfig& config, bool kernels) {
  const DecoderConfig& c = model.config();
  const auto bytes_of = [](torch::ScalarType type) { return int64_t(c10::elementSize(type)); };
  const Widths w{c.hidden_size,
                 c.num_heads * c.head_dim,
                 c.num_kv_heads * c.head_dim,
                 c.intermediate_size,
                 bytes_of(model.precision().master),
                 bytes_of(model.precision().compute),
                 c.sub_norm,
                 c.qk_norm};
  int64_t parameters = 0, linear = 0;
  for (const auto& parameter : model.trained_parameters()) {
    parameters += parameter.value.numel();
    if (parameter.role == Role::kLinear) linear += parameter.value.numel();
  }
  const int64_t tokens = config.batch.rows * config.batch.sequence_length;
  const bool muon = config.optimizer.kind() == "muon";

  MemoryEstimate out;
  const int64_t operands = kernels ? 2 : w.compute;  // int8 codes and their transposes
  out.weights = parameters * w.master + linear * operands;
  out.gradients = parameters * w.master;
  out.optimizer =
      muon ? linear * w.master + 2 * (parameters - linear) * w.master : 2 * parameters * w.master;
  const int64_t block = (kernels ? kept_per_token_by_kernels(w) : kept_per_token(w)) * tokens;
  const int64_t kept = config.recompute ? c.num_layers * tokens * c.hidden_size * w.compute + block
                                        : c.num_layers * block;
  // Either the head's chunk of logits with its log-softmax, or a feed-forward's wide rows in
  // backward.
  const int64_t chunk = std::min<int64_t>(tokens, 4096);
  // The head's gradient, one product on its way into it, and the head in the compute type.
  const int64_t logits = kernels ? w.compute : w.master + w.compute;
  const int64_t head =
      chunk * c.vocab_size * logits + c.vocab_size * c.hidden_size * (2 * w.master + w.compute);
  // By the kernels: the gradients of gate and up, their codes by row and by column, and of down's
  // rows the gradient and the transposed codes.
  const int64_t wide_rows = kernels ? tokens * c.intermediate_size * (4 + 2 + 2 + 2 + 1)
                                    : 6 * tokens * c.intermediate_size * w.master;
  out.activations = kept + std::max(head, wide_rows);
  return out;
}

}  // namespace wf
