#include "nn/decoder.h"

#include <torch/torch.h>

#include <algorithm>

#include "base/error.h"
#include "nn/recompute.h"

namespace wf {

using torch::Tensor;

namespace {

// A module that only gives its children a place in the names.
struct Named : torch::nn::Module {
  using Module::register_module;
  using Module::register_parameter;
};

Role role_of(const std::string& name, const Tensor& value) {
  if (name == "model.embed_tokens.weight") return Role::kEmbedding;
  if (name == "lm_head.weight") return Role::kHead;
  if (name.ends_with(".bias")) return Role::kBias;
  return value.dim() == 2 ? Role::kLinear : Role::kNorm;
}

bool contains(const std::vector<int64_t>& list, int64_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

Decoder::Decoder(const DecoderConfig& config, Precision precision)
    : config_(config), precision_(precision) {
  const auto body = register_module("model", std::make_shared<Named>());
  const auto embed = body->register_module("embed_tokens", std::make_shared<Named>());
  embedding_ = embed->register_parameter(
      "weight", torch::empty({config.vocab_size, config.hidden_size}, precision.master));
  const auto layers = body->register_module("layers", std::make_shared<Named>());
  for (int64_t i = 0; i < config.num_layers; ++i)
    blocks_.push_back(
        layers->register_module(std::to_string(i), std::make_shared<Block>(config, precision)));
  norm_ = body->register_module(
      "norm", std::make_shared<RmsNorm>(config.hidden_size, config.rms_norm_eps, precision));
  head_ = embedding_;
  if (!config.tied_head) {
    const auto head = register_module("lm_head", std::make_shared<Named>());
    head_ = head->register_parameter(
        "weight", torch::empty({config.vocab_size, config.hidden_size}, precision.master));
  }
}

void Decoder::initialize(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  auto generator = torch::make_generator<at::CPUGeneratorImpl>(seed);
  for (auto& parameter : trained_parameters()) {
    switch (parameter.role) {
      case Role::kNorm:
        parameter.value.fill_(1);
        break;
      case Role::kBias:
        parameter.value.zero_();
        break;
      default:
        // Drawn on the CPU whatever the device, so that a seed means the same weights everywhere.
        parameter.value.copy_(torch::empty(parameter.value.sizes(), precision_.master)
                                  .normal_(0, config_.initializer_range, generator));
    }
  }
}

const ops::RopeTable& Decoder::rotations(int64_t positions) {
  if (!rotations_.cos.defined() || rotations_.cos.size(0) < positions ||
      rotations_.cos.device() != device())
    rotations_ =
        ops::make_rope_table(positions, config_.head_dim, config_.rope_theta, config_.rope_scaling,
                             torch::dtype(precision_.master).device(device()));
  return rotations_;
}

void Decoder::set_int8(const Int8& int8) {
  int8_ = int8;
  store_ = nullptr;  // made again, with the new choice, by the next pass
}

bool Decoder::kernels_serve(const Batch& batch, const Pass& pass) const {
  // Codes meet codes and blends meet blends.
  return int8_.forward && (pass.weight_quant == 1) == (pass.activation_quant == 1) &&
         batch.tokens.numel() % FusedBlock::kTokenMultiple == 0;
}

const std::vector<FusedBlock>& Decoder::fused_blocks(double weight_quant) {
  if (!store_) {
    std::vector<std::vector<Tensor>> weights;
    for (const auto& block : blocks_) append_ternary_groups(*block, weights);
    store_ = std::make_unique<ops::TernaryStore>(weights);
    fused_blocks_.clear();
    for (int64_t i = 0; i < config_.num_layers; ++i)
      fused_blocks_.emplace_back(*blocks_[i], config_, *store_, i, int8_);
  }
  store_->refresh(weight_quant);
  return fused_blocks_;
}

Trace Decoder::forward(const Batch& batch, const Pass& pass) {
  const ops::RopeTable& table = rotations(batch.tokens.size(1));
  const ops::DocumentRanges documents{batch.starts, batch.device_starts, batch.longest,
                                      batch.plain()};
  const bool kernels = kernels_serve(batch, pass);
  ops::RopeTable rotation;  // the kernels look up the table themselves
  if (!kernels || !pass.taps.blocks.empty()) rotation = ops::rope_at(table, batch.positions);
  const FusedBlock* fused = kernels ? fused_blocks(pass.weight_quant).data() : nullptr;
  ops::FusedPass fused_pass;
  fused_pass.noise.seed = pass.noise_seed;
  if (kernels && pass.weight_quant == 1)
    fused_pass.noise.counter =
        torch::full({1}, int64_t(pass.draw), torch::dtype(torch::kInt).device(device()));
  if (kernels && pass.weight_quant < 1)
    fused_pass.lambda =
        torch::full({1}, pass.activation_quant, torch::dtype(torch::kFloat).device(device()));
  const Tensor positions = batch.positions.contiguous();
  // Recomputation runs this again, later: it keeps what it needs by value.
  const auto run = [=, this](int64_t i, const ops::Residual& in) -> ops::Residual {
    if (fused) return fused[i].forward(in, table, positions, documents, fused_pass);
    return {blocks_[i]->forward(in.sum(), rotation, documents, pass, nullptr), {}};
  };
  Trace trace;
  ops::Residual x{torch::embedding(embedding_, batch.tokens).to(precision_.compute), {}};
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    if (contains(pass.taps.blocks, i)) {
      x = {blocks_[i]->forward(x.sum(), rotation, documents, pass, &trace.blocks.emplace_back()),
           {}};
    } else if (pass.recompute_blocks && torch::GradMode::is_enabled()) {
      x = {recompute([run, i](const Tensor& in) { return run(i, {in, {}}).sum(); }, x.sum()), {}};
    } else {
      x = run(i, x);
    }
    if (contains(pass.taps.layers, i)) {
      x = {x.sum(), {}};
      trace.layers.push_back(x.stream);
    }
  }
  if (fused) {
    const auto flat = [](const Tensor& t) { return t.defined() ? t.flatten(0, 1) : t; };
    trace.hidden = ops::add_norm({flat(x.stream), flat(x.delta), x.made_by}, norm_->weight,
                                 config_.rms_norm_eps, fused_pass.noise)
                       .view(x.stream.sizes());
  } else {
    trace.hidden = norm_->forward(x.sum()).to(precision_.compute);
  }
  trace.head = head_;
  return trace;
}

std::vector<Parameter> Decoder::trained_parameters() const {
  std::vector<Parameter> all;
  for (const auto& item : named_parameters())
    all.push_back({item.key(), item.value(), role_of(item.key(), item.value())});
  return all;
}

std::vector<std::pair<std::string, std::shared_ptr<BitLinear>>> Decoder::bit_linears() const {
  std::vector<std::pair<std::string, std::shared_ptr<BitLinear>>> all;
  for (const auto& item : named_modules(/*name_prefix=*/"", /*include_self=*/false))
    if (auto linear = std::dynamic_pointer_cast<BitLinear>(item.value()))
      all.emplace_back(item.key(), linear);
  return all;
}

}  // namespace wf
