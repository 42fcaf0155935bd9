// What a run can do. A table: one row per stage.
#pragma once
#include "parallel/context.h"
#include "train/hardware.h"
#include "train/run_config.h"

namespace wf {

// What every stage is handed.
struct StageInput {
  const RunConfig& config;
  const Hardware& hardware;
  ParallelContext& parallel;
  bool dry_run;  // check and estimate everything, train nothing, write nothing
};

enum class Outcome { kDone, kPreempted };  // kPreempted: asked to stop, saved

Outcome run_stage(const StageInput& input);

Outcome train_stage(const StageInput& input);
Outcome insert_subln_stage(const StageInput& input);
Outcome export_stage(const StageInput& input);

}  // namespace wf
