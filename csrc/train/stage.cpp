#include "train/stage.h"

#include <array>

namespace wf {

namespace {

struct Row {
  StageKind kind;
  Outcome (*run)(const StageInput&);
};
constexpr std::array kStages = {Row{StageKind::kTrain, train_stage},
                                Row{StageKind::kInsertSubln, insert_subln_stage},
                                Row{StageKind::kExport, export_stage}};
static_assert(kStages.size() == config::names<StageKind>.size());

}  // namespace

Outcome run_stage(const StageInput& input) {
  for (const Row& row : kStages)
    if (row.kind == input.config.stage) return row.run(input);
  return Outcome::kDone;
}

}  // namespace wf
