#include "data/token_shards.h"

#include <array>

#include "base/error.h"
#include "tests/base/temporary_folder.h"
#include "tests/fuzz/target.h"

namespace wf {
namespace {

// The files of a folder as one input, so that a mutation can strike any of them.
constexpr std::string_view kCut = "\n====\n";
constexpr std::array kNames{"manifest.json", "00000.tokens", "00000.documents", "00001.tokens",
                            "00001.documents"};

void write_files(const std::filesystem::path& folder, std::string_view input) {
  for (const char* name : kNames) {
    const auto end = input.find(kCut);
    std::filesystem::remove(folder / name);  // a file cut to nothing in place waits for the disk
    std::ofstream(folder / name, std::ios::binary) << input.substr(0, end);
    input.remove_prefix(end == input.npos ? input.size() : end + kCut.size());
  }
}

}  // namespace
}  // namespace wf

void wf::fuzz::read_all(const std::filesystem::path& file) {
  static const TemporaryFolder folder;
  write_files(folder.path(), read_text(file));
  const TokenShards shards(folder.path());
  if (shards.tokens() == 0) return;  // no row: check_fits refuses it before anything is read
  std::vector<int64_t> tokens(shards.tokens()), starts;
  const int64_t step = 1 + shards.tokens() / 16;
  for (int64_t first = 0; first < shards.tokens(); first += step) {
    starts.clear();
    shards.document_starts(first, shards.tokens(), starts);
    for (const int64_t start : starts)  // the packer writes to these places of a row
      if (start < 0 || start >= shards.tokens() - first) std::abort();
  }
  shards.read(0, tokens);
}
