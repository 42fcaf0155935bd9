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

}  // namespace

MemoryEstimate estimate_memory(const Decoder& model, const RunConfig& config) {
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
  out.weights = parameters * w.master + linear * w.compute;
  out.gradients = parameters * w.master;
  out.optimizer =
      muon ? linear * w.master + 2 * (parameters - linear) * w.master : 2 * parameters * w.master;
  const int64_t block = kept_per_token(w) * tokens;
  const int64_t kept = config.recompute ? c.num_layers * tokens * c.hidden_size * w.compute + block
                                        : c.num_layers * block;
  // Either the head's chunk of logits with its log-softmax, or a feed-forward's wide rows in
  // backward.
  const int64_t chunk = std::min<int64_t>(tokens, 4096);
  // The head's gradient, one product on its way into it, and the head in the compute type.
  const int64_t head = chunk * c.vocab_size * (w.master + w.compute) +
                       c.vocab_size * c.hidden_size * (2 * w.master + w.compute);
  const int64_t wide_rows = 6 * tokens * c.intermediate_size * w.master;
  out.activations = kept + std::max(head, wide_rows);
  return out;
}

}  // namespace wf
