#include "shape/modeling_file.h"

#include <map>

namespace wf {

namespace {

constexpr const char* kTemplate =
    R"py("""@Base@ with SubLN: an RMSNorm before o_proj and one before down_proj of every block."""

from transformers import @Base@Config, @Base@ForCausalLM
from transformers.models.@base@.modeling_@base@ import @Base@RMSNorm


class SubLNConfig(@Base@Config):
    model_type = "@base@_subln"


class SubLNForCausalLM(@Base@ForCausalLM):
    config_class = SubLNConfig

    def __init__(self, config):
        super().__init__(config)
        for layer in self.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            attention.attn_sub_norm = @Base@RMSNorm(attention.o_proj.in_features, config.rms_norm_eps)
            mlp.ffn_sub_norm = @Base@RMSNorm(mlp.down_proj.in_features, config.rms_norm_eps)
        self.post_init()

    def forward(self, *args, **kwargs):
        # Here and not in __init__, because quantisation replaces the linear layers after it.
        for layer in self.model.layers:
            _normalise_input(layer.self_attn.o_proj, layer.self_attn.attn_sub_norm)
            _normalise_input(layer.mlp.down_proj, layer.mlp.ffn_sub_norm)
        return super().forward(*args, **kwargs)


def _normalise_input(linear, norm):
    if not getattr(linear, "input_is_normalised", False):
        linear.register_forward_pre_hook(lambda module, inputs: (norm(inputs[0]),))
        linear.input_is_normalised = True
)py";

}  // namespace

std::string modeling_file(const std::string& family) {
  static const std::map<std::string, std::string> class_prefix = {
      {"llama", "Llama"}, {"qwen2", "Qwen2"}, {"qwen3", "Qwen3"}};
  std::string text = kTemplate;
  const auto replace = [&](const std::string& mark, const std::string& with) {
    for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += with.size())
      text.replace(at, mark.size(), with);
  };
  replace("@Base@", class_prefix.at(family));
  replace("@base@", family);
  return text;
}

}  // namespace wf
