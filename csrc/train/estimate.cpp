#include "train/estimate.h"

#include <algorithm>

#include "base/log.h"
#include "train/quant_use.h"

namespace wf {

namespace {

// Who computes the ternary linears of a step.
enum class Path { kPlain, kCodes, kBlend };  // plain operations; the kernels at λ = 1; below it

struct Shape {
  const DecoderConfig& model;
  int64_t tokens;           // of one micro-batch
  int64_t master, compute;  // bytes of a number

  Shape(const Decoder& decoder, const RunConfig& config)
      : model(decoder.config()),
        tokens(config.batch.rows * config.batch.sequence_length),
        master(int64_t(c10::elementSize(decoder.precision().master))),
        compute(int64_t(c10::elementSize(decoder.precision().compute))) {}

  int64_t q() const { return model.num_heads * model.head_dim; }
  int64_t kv() const { return model.num_kv_heads * model.head_dim; }
  int64_t head() const { return model.vocab_size * model.hidden_size; }  // elements
};

struct Count {
  int64_t all = 0, linear = 0;  // parameters
};

Count count_parameters(const Decoder& model) {
  Count out;
  for (const auto& parameter : model.trained_parameters()) {
    out.all += parameter.value.numel();
    if (parameter.role == Role::kLinear) out.linear += parameter.value.numel();
  }
  return out;
}

// What one block keeps for backward; what each op saves is said in csrc/ops.
int64_t kept_by_plain(const Shape& s) {
  const int64_t hidden = s.model.hidden_size, ffn = s.model.intermediate_size;
  const int64_t normed_twice = s.model.sub_norm ? 2 : 1;
  const int64_t inputs = 2 * hidden;  // of the norms
  const int64_t rows = 2 * hidden;    // of q/k/v and of gate/up
  const int64_t head_norms = s.model.qk_norm ? s.q() + s.kv() : 0;
  const int64_t qkv = s.q() + 2 * s.kv();                     // attention's inputs
  const int64_t mixed = s.q() * normed_twice + s.q();         // its output, o_proj's rows
  const int64_t feed_forward = 2 * ffn + ffn * normed_twice;  // gate and up; down_proj's rows
  return s.tokens * s.compute * (inputs + rows + head_norms + qkv + mixed + feed_forward);
}

// The same by the kernels: bf16 rows, their int8 codes or bf16 blends, two fp32 numbers a row and
// norm.
int64_t kept_by_kernels(const Shape& s, Path path) {
  const int64_t ffn = s.model.intermediate_size, operand = path == Path::kCodes ? 1 : 2;
  const int64_t norms =
      (2 + operand) * (2 * s.model.hidden_size + s.q()) + 4 * 2 * int64_t(sizeof(float));
  const int64_t qkv = 2 * (s.q() + 2 * s.kv()) + (s.model.qk_norm ? 2 * (s.q() + s.kv()) : 0);
  const int64_t feed_forward = 2 * 2 * ffn + operand * ffn;
  return s.tokens * (norms + qkv + feed_forward);
}

int64_t kept_by_block(const Shape& s, Path path) {
  return path == Path::kPlain ? kept_by_plain(s) : kept_by_kernels(s, path);
}

// Passing rows in a feed-forward's backward, at most. By the kernels: gate's and up's gradients, or
// their codes by row and by column (two of a byte for four of two), and beside them the rows' codes
// and the gradient of down's rows; with blends the gradients themselves.
int64_t feed_forward_backward(const Shape& s, Path path) {
  const int64_t bytes = path == Path::kPlain   ? 6 * s.master
                        : path == Path::kCodes ? 4 + 2 + 2
                                               : 4 + 2;
  return s.tokens * s.model.intermediate_size * bytes;
}

// The head's chunk of logits, and the head in the compute type.
int64_t head_buffers(const Shape& s, bool kernels, bool against_teacher) {
  const int64_t chunk = std::min<int64_t>(s.tokens, 4096);
  // Cross-entropy by plain operations: logits and their log-softmax. KL: three distributions and
  // three passing products.
  const int64_t logit = against_teacher ? 6 * s.master : kernels ? s.compute : s.master + s.compute;
  return chunk * s.model.vocab_size * logit + s.head() * (s.master + s.compute);
}

struct Moment {
  int64_t gradients, activations;
};

// The moments of a step at which gradients and activations can be at their highest together.
// `gradients`: of all parameters; `earlier`: those of the micro-batches before this one.
Moment highest_moment(const Shape& s, Path path, bool recompute, bool against_teacher,
                      int64_t gradients, int64_t earlier) {
  const int64_t block = kept_by_block(s, path), wide = feed_forward_backward(s, path);
  const int64_t kept = recompute
                           ? s.model.num_layers * s.tokens * s.model.hidden_size * s.compute + block
                           : s.model.num_layers * block;
  const int64_t head_gradient = s.head() * s.master;
  // With recomputation a block is there only while its backward runs.
  const int64_t at_loss = recompute ? kept - block : kept;
  const Moment moments[] = {
      {earlier + head_gradient,
       at_loss + head_buffers(s, path != Path::kPlain, against_teacher)},  // the loss
      {earlier + head_gradient, kept + wide},                              // the last block
      {gradients, block + wide},                                           // the first block
      {gradients, head_gradient}};  // the embedding, beside the head's share of its gradient
  return *std::max_element(std::begin(moments), std::end(moments),
                           [](const Moment& a, const Moment& b) {
                             return a.gradients + a.activations < b.gradients + b.activations;
                           });
}

}  // namespace

MemoryEstimate estimate_training(const Decoder& model, const Decoder* teacher,
                                 const RunConfig& config, bool kernels) {
  const Shape s(model, config);
  const Count count = count_parameters(model);
  const QuantUse use = quant_use(config.quant, config.steps);
  const Path path = !kernels || use.mixed ? Path::kPlain : use.blend ? Path::kBlend : Path::kCodes;

  MemoryEstimate out;
  // Codes and their transposes, and with a λ below 1 the blend in bf16; by plain operations an
  // operand of the compute type, which in full precision may be the master itself.
  int64_t operand = kernels ? 2 + (use.blend ? 2 : 0) : 0;
  if ((!kernels || use.mixed) && (use.quantised || s.compute != s.master)) operand += s.compute;
  const int64_t watched = use.quantised ? count.linear / 4 : 0;  // the codes of a while ago, packed
  out.weights = count.all * s.master + count.linear * operand + watched;
  if (teacher) out.teacher = count_parameters(*teacher).all * s.master;
  const int64_t matrices = config.optimizer.kind() == "muon" ? count.linear : 0;
  out.optimizer = (matrices + 2 * (count.all - matrices)) * s.master;
  const int64_t gradients = count.all * s.master;
  const Moment moment = highest_moment(s, path, config.recompute, teacher != nullptr, gradients,
                                       config.batch.accumulate > 1 ? gradients : 0);
  out.gradients = moment.gradients;
  out.activations = moment.activations;
  return out;
}

MemoryEstimate estimate_insertion(const Decoder& student, const Decoder& original,
                                  const RunConfig& config) {
  const Shape s(student, config);
  const Count count = count_parameters(student);
  MemoryEstimate out;
  // Both are evaluated at λ = 1, which prepares operands that stay.
  const int64_t operand = config.evaluate.path.empty() ? 0 : s.compute;
  out.weights = count.all * s.master + count.linear * operand;
  out.teacher = count_parameters(original).all * s.master + count.linear * operand;
  const bool trained = student.config().sub_norm && config.insert.gains == Gains::kCalibrated &&
                       config.insert.calibration_steps > 0;
  if (trained) {
    const Moment moment = highest_moment(s, Path::kPlain, false, true, 0, 0);
    out.gradients = moment.gradients;
    out.activations = moment.activations;
  } else if (!config.evaluate.path.empty()) {
    out.activations =
        kept_by_plain(s) + head_buffers(s, /*kernels=*/false, /*against_teacher=*/false);
  }
  return out;
}

void report_memory(const MemoryEstimate& memory, int64_t held_before, const Hardware& hardware) {
  const int64_t needed = memory.total() + held_before;
  const auto gb = [](int64_t bytes) { return double(bytes) / 1e9; };
  log::say(
      "memory: about {:.2f} GB at the peak (weights {:.2f}, {}gradients {:.2f}, optimizer {:.2f}, "
      "activations {:.2f}, in use before {:.2f})",
      gb(needed), gb(memory.weights),
      memory.teacher ? fmt::format("teacher {:.2f}, ", gb(memory.teacher)) : "",
      gb(memory.gradients), gb(memory.optimizer), gb(memory.activations), gb(held_before));
  if (const int64_t there = hardware.memory_within_reach(); needed > there)
    log::say(
        "WARNING: that is more than the {:.2f} GB within reach on this {}: lower batch.rows (and "
        "raise batch.accumulate to keep the batch), or set recompute=true",
        gb(there), hardware.device.is_cuda() ? "GPU" : "machine");
}

}  // namespace wf
