// Which settings each parameter is trained with: by its role, never by its name.
#pragma once
#include <vector>

#include "config/check.h"
#include "config/field.h"
#include "nn/parameter.h"

namespace wf {

// One number for each role.
struct PerRole {
  double embedding = 0;
  double head = 0;
  double norm = 0;
  double bias = 0;
  double linear = 0;

  double of(Role role) const;

  static constexpr auto fields() {
    using C = PerRole;
    return config::fields<C>(
        config::field<&C::embedding>("token embedding (and a head tied to it)",
                                     config::non_negative),
        config::field<&C::head>("output matrix of its own", config::non_negative),
        config::field<&C::norm>("gains of norms", config::non_negative),
        config::field<&C::bias>("biases", config::non_negative),
        config::field<&C::linear>("matrices of the blocks", config::non_negative));
  }
};

struct RoleSettings {
  // One schedule drives all roles; these multiply it, so that every role follows its shape to the
  // end.
  PerRole lr_multiplier = {1, 1, 1, 1, 1};
  PerRole weight_decay = {.linear = 0.1};

  static constexpr auto fields() {
    using C = RoleSettings;
    return config::fields<C>(
        config::field<&C::lr_multiplier>("learning rate as a multiple of the schedule; 0 freezes"),
        config::field<&C::weight_decay>("decoupled decay: each step shrinks by lr * this"));
  }
};

// Parameters that share their settings and so can be updated by one kernel.
struct Group {
  double lr_multiplier;
  double weight_decay;
  std::vector<Parameter> parameters;
};

// Groups in order of first appearance. A role with multiplier 0 is frozen: its parameters stop
// requiring a gradient and are in no group. Throws Error when nothing is left or when two names
// share a tensor, which would be updated twice.
std::vector<Group> make_groups(const std::vector<Parameter>& parameters,
                               const RoleSettings& settings);

}  // namespace wf
