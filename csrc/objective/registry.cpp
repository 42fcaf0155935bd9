#include "objective/registry.h"

#include "objective/cross_entropy.h"
#include "objective/logits_kl.h"

namespace wf {

const config::Registry<Objective>& objectives() {
  static const config::Registry<Objective> table{
      "objective",
      {
          config::entry<CrossEntropy, Objective>("cross_entropy",
                                                 "next-token prediction (stage 2)"),
          config::entry<LogitsKl, Objective>("logits_kl",
                                             "follow the teacher's next-token distribution"),
      }};
  return table;
}

}  // namespace wf
