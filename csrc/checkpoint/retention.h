// Which checkpoints stay.
#pragma once
#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/check.h"
#include "config/field.h"

namespace wf {

struct Retention {
  struct Config {
    int64_t keep_last = 3;
    int64_t keep_every = 0;
    bool keep_best = true;
    static constexpr auto fields() {
      using C = Config;
      return config::fields<C>(
          config::field<&C::keep_last>("newest checkpoints that stay", config::positive),
          config::field<&C::keep_every>("steps whose multiples stay for good; 0: none",
                                        config::non_negative),
          config::field<&C::keep_best>("whether the lowest held-out loss stays"));
    }
  };
};

// Those of `saved` (by ascending step) that may go. Never the newest.
std::vector<SavedCheckpoint> expired(const std::vector<SavedCheckpoint>& saved,
                                     const Retention::Config& config);

// Removes them from a run. One rank of a run calls this, after a save.
void remove_expired(const std::filesystem::path& run_folder, const Retention::Config& config);

}  // namespace wf
