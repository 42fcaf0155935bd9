#include "train/metrics.h"

#include "base/error.h"
#include "base/file.h"

namespace wf {

namespace {

bool ends_a_line(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  return mapped.bytes().empty() || mapped.bytes().back() == std::byte{'\n'};
}

}  // namespace

Metrics::Metrics(const std::filesystem::path& file, bool active) {
  if (!active) return;
  const bool torn = std::filesystem::exists(file) && !ends_a_line(file);
  out_.open(file, std::ios::app);
  if (torn) out_ << '\n';  // a line that a crash cut short stays alone
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
