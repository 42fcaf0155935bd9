#include "formats/hf_names.h"

#include <array>
#include <utility>

namespace wf {

std::string hf_name(std::string stored) {
  using Spelling = std::pair<std::string_view, std::string_view>;
  static constexpr std::array kSpellings = {
      Spelling{".self_attn.o_proj.0.", ".self_attn.attn_sub_norm."},
      Spelling{".self_attn.o_proj.1.", ".self_attn.o_proj."},
      Spelling{".self_attn.inner_attn_ln.", ".self_attn.attn_sub_norm."},
      Spelling{".mlp.down_proj.0.", ".mlp.ffn_sub_norm."},
      Spelling{".mlp.down_proj.1.", ".mlp.down_proj."},
      Spelling{".mlp.ffn_layernorm.", ".mlp.ffn_sub_norm."},
  };
  for (const auto& [other, ours] : kSpellings)
    if (const auto at = stored.find(other); at != std::string::npos)
      return stored.replace(at, other.size(), ours);
  return stored;
}

}  // namespace wf
