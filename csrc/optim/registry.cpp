#include "optim/registry.h"

#include "optim/adamw.h"
#include "optim/muon.h"

namespace wf {

const config::Registry<Optimizer, std::vector<Parameter>>& optimizers() {
  static const config::Registry<Optimizer, std::vector<Parameter>> table{
      "optimizer",
      {
          config::entry<AdamW, Optimizer, std::vector<Parameter>>(
              "adamw", "Adam with decoupled weight decay"),
          config::entry<Muon, Optimizer, std::vector<Parameter>>(
              "muon", "orthogonalised momentum for the matrices of the blocks, AdamW for the rest"),
      }};
  return table;
}

}  // namespace wf
