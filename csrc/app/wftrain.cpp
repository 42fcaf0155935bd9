// wftrain --config stage2.yaml [key=value ...]: runs one stage.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "base/environment.h"
#include "base/log.h"
#include "base/program.h"
#include "train/kernel_choice.h"
#include "train/signal.h"
#include "train/stage.h"

// Read by jemalloc at its start: memory that was freed goes back to the system within a second,
// because the next step's tensors have other sizes. One thread allocates them, so arenas are few.
extern "C" {
const char* malloc_conf = "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0";
}

namespace {

constexpr int kDone = 0, kUsage = 2;

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  bool print_config = false, dry_run = false, help = false;
};

// CLI11 does the words; the options of the run itself are the configuration's.
int parse(int argc, char** argv, Options& out) {
  CLI::App app("Trains a language model to 1.58 bits, one stage at a time.", "wftrain");
  app.set_help_flag();
  app.add_flag("-h,--help", out.help,
               "this text; `--help SECTION` lists a section's options, `--help all` every option");
  app.add_option("--config", out.config, "the run's YAML file");
  app.add_flag("--print-config", out.print_config,
               "print every option as it would be used, and stop");
  app.add_flag("--dry-run", out.dry_run, "check and estimate everything, train nothing");
  app.add_option("overrides", out.overrides, "key=value, e.g. lr.value=3e-4");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::cerr << "wftrain: " << error.what() << "; see wftrain --help\n";
    return kUsage;
  }
  if (out.help) {
    if (out.overrides.empty()) std::cout << app.help() << "\nSections and options:\n";
    const std::string section =
        out.overrides.empty() || out.overrides[0] == "all" ? "" : out.overrides[0];
    std::cout << wf::config::explain<wf::RunConfig>(section);
    return kDone;
  }
  if (out.config.empty()) {
    std::cerr << "wftrain: --config FILE is missing; see wftrain --help\n";
    return kUsage;
  }
  return -1;
}

// A GPU's allocator has an exception of its own; the CPU's is known by its message only.
bool is_out_of_memory(const c10::Error& error) {
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) ||
         std::string_view(error.what_without_backtrace()).find("DefaultCPUAllocator") !=
             std::string_view::npos;
}

int run(const Options& options) {
  const auto config = wf::config::load<wf::RunConfig>(options.config, options.overrides);
  if (options.print_config) {
    std::cout << wf::config::print_config(config);
    return kDone;
  }
  const auto environment = wf::Environment::read();
  wf::log::set_narrating(environment.rank == 0);
  wf::install_stop_signals(false);  // the wait for other processes is not a step that ends
  const auto hardware = wf::choose_hardware(config.device, config.compute, environment.local_rank);
  if (config.deterministic) wf::require_deterministic_operations();
  wf::log::say("{}", hardware.describe());
  const auto parallel = wf::make_parallel_context(environment, hardware.device);
  wf::install_stop_signals(config.stage == wf::StageKind::kTrain && !options.dry_run);
  try {
    const auto outcome = wf::run_stage({config, hardware, *parallel, options.dry_run});
    return outcome == wf::Outcome::kPreempted ? wf::kPreemptedExitCode : kDone;
  } catch (const c10::Error& error) {
    if (!is_out_of_memory(error)) throw;
    wf::fail(
        "out of memory on {} ({:.1f} GB in all): lower batch.rows (now {}) and raise "
        "batch.accumulate (now {}) to keep the batch, or set recompute=true",
        hardware.name, double(hardware.memory_total()) / 1e9, config.batch.rows,
        config.batch.accumulate);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return wf::run_main("wftrain", [&] {
    Options options;
    const int code = parse(argc, argv, options);
    return code >= 0 ? code : run(options);
  });
}
