#include "optim/groups.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"

namespace wf {

double PerRole::of(Role role) const {
  switch (role) {
    case Role::kEmbedding:
      return embedding;
    case Role::kHead:
      return head;
    case Role::kNorm:
      return norm;
    case Role::kBias:
      return bias;
    case Role::kLinear:
      break;
  }
  return linear;
}

std::vector<Group> make_groups(const std::vector<Parameter>& parameters,
                               const RoleSettings& settings) {
  std::vector<Group> groups;
  std::unordered_map<const void*, std::string> owner;
  for (const Parameter& parameter : parameters) {
    const auto [first, is_new] =
        owner.emplace(parameter.value.unsafeGetTensorImpl(), parameter.name);
    if (!is_new)
      fail("parameters '{}' and '{}' are the same tensor", first->second, parameter.name);

    const double multiplier = settings.lr_multiplier.of(parameter.role);
    const double decay = settings.weight_decay.of(parameter.role);
    auto value = parameter.value;
    value.requires_grad_(multiplier > 0);
    if (multiplier == 0) continue;
    auto group = std::ranges::find_if(groups, [&](const Group& g) {
      return g.lr_multiplier == multiplier && g.weight_decay == decay;
    });
    if (group == groups.end()) group = groups.insert(group, {multiplier, decay, {}});
    group->parameters.push_back(parameter);
  }
  if (groups.empty()) fail("nothing is left to train: lr_multiplier is 0 for every role in use");
  return groups;
}

}  // namespace wf
