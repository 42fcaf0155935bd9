#include "train/metrics.h"

#include "base/error.h"
#include "base/file.h"

namespace wf {

Metrics::Metrics(const std::filesystem::path& file, bool active) {
  if (!active) return;
  const std::string before = std::filesystem::exists(file) ? read_text(file) : "";
  out_.open(file, std::ios::app);
  if (!before.empty() && before.back() != '\n')
    out_ << '\n';  // a line that a crash cut short stays alone
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
