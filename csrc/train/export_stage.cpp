// Writes the newest checkpoint of a run, or a Hugging Face folder, in another format.
#include "base/error.h"
#include "base/log.h"
#include "model/load.h"
#include "train/run_folder.h"
#include "train/stage.h"
#include "train/target.h"

namespace wf {

Outcome export_stage(const StageInput& input) {
  const RunConfig& config = input.config;
  const HfFolder source(find_model_folder(config.model.path));
  const auto model = load_decoder(source, {.precision = {}});
  require_target(model->config(), config.target);
  const auto out = std::filesystem::path(config.folder) / config.name;
  if (std::filesystem::exists(out))
    fail("{}: already exists; remove it or choose another name", out.string());
  if (input.dry_run) {
    log::say("dry run: {} would be written to {}", source.path().string(), out.string());
    return Outcome::kDone;
  }
  if (input.parallel.rank() == 0) {
    config.exporter.build()->write({*model, source.config(), source.path()}, out);
    log::say("exported {} to {} ({})", source.path().string(), out.string(),
             config.exporter.kind());
  }
  input.parallel.barrier();
  return Outcome::kDone;
}

}  // namespace wf
