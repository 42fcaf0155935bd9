#include "train/metrics.h"

#include "base/error.h"

namespace wf {

Metrics::Metrics(const std::filesystem::path& file, bool active) {
  if (!active) return;
  out_.open(file, std::ios::app);
  if (!out_) fail("{}: cannot be written to", file.string());
}

void Metrics::write(const char* kind, nlohmann::ordered_json values) {
  if (!out_.is_open()) return;
  nlohmann::ordered_json line = {{"kind", kind}};
  line.update(values);
  out_ << line.dump() << std::endl;  // flushed, so that a plot of a running job is current
  if (!out_) fail("metrics.jsonl cannot be written; is the disk full?");
}

}  // namespace wf
