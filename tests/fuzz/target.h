// One reader under attack. A target either reads the file or throws wf::Error; anything else
// (another exception, a signal, a sanitizer's report, an allocation beyond reason, ten seconds) is
// a finding.
#pragma once
#include <filesystem>
#include <string>

namespace wf::fuzz {

// Opens the file and touches everything it hands out.
void read_all(const std::filesystem::path& file);

// What became of the last input, numbers left out: "read", or an error's text. New outcomes are the
// sign by which the driver knows an input worth keeping.
extern std::string outcome;

// Writes `data` to a file of this process and lets read_all have it.
void run(const unsigned char* data, std::size_t size);

}  // namespace wf::fuzz
