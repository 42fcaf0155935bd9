// wfconvert CHECKPOINT -o model.gguf: a model folder as a GGUF file; and back, and what is in one.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <chrono>
#include <iostream>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/program.h"
#include "formats/saved_checkpoint.h"
#include "gguf/gguf_export.h"
#include "gguf/gguf_import.h"
#include "gguf/gguf_inspect.h"
#include "gguf/gguf_logits.h"
#include "gguf/gguf_validate.h"

namespace {

namespace fs = std::filesystem;

constexpr int kDone = 0, kFailed = 1, kUsage = 2, kInterrupted = 128;

struct Options {
  fs::path input, output, companions;
  std::string outtype = "tq1_0", embedding, engine = "llama.cpp", weights = "auto";
  std::string of_writing;  // an option that is given and concerns files to write only
  bool inspect = false, validate = false, validate_only = false, no_sync = false;
  wf::GgufOptions gguf;
};

volatile sig_atomic_t caught_signal = 0;
struct Interrupted {};
const char* kept = "nothing was written";  // when it is interrupted

void install_signals() {
  struct sigaction action{};
  action.sa_handler = [](int signal) { caught_signal = signal; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends the process at once
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  struct sigaction hangup{};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);  // nohup ignores it
}

void check_interrupted() {
  if (caught_signal) throw Interrupted{};
}

void show_progress(const char* doing, double share) {
  check_interrupted();
  constexpr int kWidth = 40;
  const int filled = static_cast<int>(share * kWidth);
  wf::log::live(fmt::format("{:<10} [{}{}] {:3.0f} %", doing, std::string(filled, '#'),
                            std::string(kWidth - filled, '.'), 100 * share));
}

wf::GgufType type_named(const std::string& name) { return wf::find_gguf_type(name)->type; }

int parse(int argc, char** argv, Options& out) {
  CLI::App app(
      "Writes a model folder as a GGUF file whose codes are exactly the trained ones; a GGUF file "
      "as a model folder; or what is in a GGUF file.",
      "wfconvert");
  app.add_option(
         "input", out.input,
         "a run or checkpoint of wftrain, a Hugging Face folder, one at gs://, hf:// or s3:// "
         "(see wf fetch), or a .gguf file")
      ->required();
  app.add_option("-o,--output", out.output, "the .gguf file, or the folder, to write");
  app.add_flag("--inspect", out.inspect, "print metadata, tensors, shares of zeros and scales");
  app.add_option("--outtype", out.outtype, "type of the block matrices")
      ->check(CLI::IsMember(
          {"tq1_0", "tq2_0", "q2_0", "i2_s", "tl1", "tl2", "q8_0", "f16", "bf16", "f32"}))
      ->capture_default_str();
  app.add_option("--embedding-type", out.embedding,
                 "type of embedding and head (default: the outtype if it is f16, bf16 or f32, else "
                 "f16)")
      ->check(CLI::IsMember({"q6_k", "q8_0", "f16", "bf16", "f32"}));
  app.add_option("--engine", out.engine, "what has to load the file")
      ->check(CLI::IsMember({"llama.cpp", "microsoft-2024", "microsoft-2026"}))
      ->capture_default_str();
  app.add_option("--arch", out.gguf.arch, "general.architecture, instead of the model's own");
  app.add_option("--weights", out.weights,
                 "what the block matrices are: ternary (ternarised if they are latent), "
                 "full-precision (written as they are), or what config.json says")
      ->check(CLI::IsMember({"auto", "ternary", "full-precision"}))
      ->capture_default_str();
  app.add_option("--kernel-config", out.gguf.kernel_config,
                 "tiles of TL1 and TL2 (default: chosen, and written beside the file)");
  app.add_flag("--validate", out.validate,
               "read the file again and compare it with the folder; exit code 1 if it differs");
  app.add_flag("--validate-only", out.validate_only, "the same for a file that is there already");
  app.add_option("--companions", out.companions,
                 "of the reverse: a folder to copy the tokenizer from");
  app.add_flag("--no-sync", out.no_sync, "do not wait until the file is on the disk");
  app.footer("exit codes: 0 done, 1 error or not valid, 2 usage, 128 + N ended by signal N");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  if (!out.inspect && out.output.empty()) {
    std::cerr << "wfconvert: -o is missing; see wfconvert --help\n";
    return kUsage;
  }
  for (const char* option : {"--outtype", "--embedding-type", "--engine", "--arch", "--weights",
                             "--kernel-config", "--validate", "--validate-only"})
    if (app.count(option)) out.of_writing = option;
  out.gguf.outtype = type_named(out.outtype);
  if (!out.embedding.empty()) out.gguf.embedding = type_named(out.embedding);
  for (const auto& [name, engine] : wf::config::names<wf::Engine>)
    if (name == out.engine) out.gguf.engine = engine;
  if (out.weights != "auto") out.gguf.ternary = out.weights == "ternary";
  return -1;
}

// What --validate prints.
bool validate(const Options& options, const wf::HfFolder& folder, const wf::GgufPlan& plan) {
  const auto findings = wf::validate_gguf(options.output, plan, show_progress);
  wf::log::live("");
  const bool intact = wf::print_findings(findings, std::cout);
  std::cout.flush();  // before what other programs may say
  const auto answers = wf::validate_logits(options.output, folder, plan);
  check_interrupted();  // which ends those programs, too
  return wf::print_findings(answers, std::cout) && intact;
}

// What would go wrong after the work of minutes, and what would be lost.
void check_output(const Options& options) {
  const fs::path& file = options.output;
  if (options.validate_only) {
    if (!fs::is_regular_file(file))
      wf::fail("{}: no such file; --validate-only compares one that was written before",
               file.string());
    return;
  }
  if (!file.has_filename() || fs::is_directory(file))
    wf::fail("{}: is a folder; -o wants the name of the .gguf file", file.string());
  if (const fs::path folder = file.parent_path(); !folder.empty() && !fs::is_directory(folder))
    wf::fail("{}: there is no folder {}; make it, or choose another -o", file.string(),
             folder.string());
  if (fs::exists(file) && !wf::begins_as_gguf(wf::MappedFile(file).bytes()))
    wf::fail("{}: exists and is no GGUF file; choose another -o", file.string());
}

// The folder itself, or where `wf fetch` has put what lies at gs://, hf:// or s3://: beside the
// output, so that converting again to another type downloads nothing.
fs::path local_folder(const Options& options) {
  const std::string input = options.input.string();
  if (input.find("://") == std::string::npos) return wf::find_model_folder(options.input);
  fs::path folder = options.output;
  folder.replace_extension(".source");
  wf::run_program({wf::wf_command(), "fetch", input, folder.string()}, /*show_errors=*/true);
  return folder;
}

int convert(const Options& options) {
  if (!options.companions.empty())
    wf::fail("{}: --companions is for the reverse; the folder's own tokenizer is taken",
             options.input.string());
  check_output(options);
  const wf::HfFolder folder(local_folder(options));
  const auto begin = std::chrono::steady_clock::now();
  const wf::GgufPlan plan = wf::plan_gguf(folder, options.gguf, show_progress);
  for (const auto& notice : plan.notices) wf::log::line(notice);
  if (!options.validate_only) {
    wf::write_gguf(plan, folder, options.output, !options.no_sync, show_progress);
    kept = "the file is written, but not validated";
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    wf::log::say("{}: architecture {}, {} tensors, {:.1f} MB, written in {:.2f} s",
                 options.output.string(), plan.graph->arch, plan.tensors.size(),
                 double(fs::file_size(options.output)) / 1e6, seconds.count());
    const bool tiled =
        plan.tensors.end() !=
        std::find_if(plan.tensors.begin(), plan.tensors.end(), [](const auto& t) {
          return t.info.type == wf::GgufType::kTL1 || t.info.type == wf::GgufType::kTL2;
        });
    if (tiled)
      wf::log::say("{}: the tiles, for building the runtime",
                   (options.output.parent_path() / wf::kKernelConfigName).string());
  }
  if (!options.validate && !options.validate_only) return kDone;
  return validate(options, folder, plan) ? kDone : kFailed;
}

int import(const Options& options) {
  const std::string input = options.input.string();
  if (!options.of_writing.empty())
    wf::fail("{}: {} concerns GGUF files that are made of a folder; name that folder", input,
             options.of_writing);
  if (!options.companions.empty() && !fs::is_directory(options.companions))
    wf::fail("{}: no such folder; --companions names one with a tokenizer",
             options.companions.string());
  wf::import_gguf(options.input, options.output, options.companions, show_progress);
  wf::log::say("{}: written from {}", options.output.string(), input);
  if (options.companions.empty())
    wf::log::line("it has no tokenizer; --companions copies one from the model's original folder");
  return kDone;
}

int run(const Options& options) {
  const bool is_file = fs::is_regular_file(options.input);
  if (is_file && options.input.extension() == ".safetensors")
    wf::fail("{}: is part of a model; name its folder", options.input.string());
  if (!is_file && (options.inspect || options.input.extension() == ".gguf"))
    wf::fail("{}: no such file; expected a .gguf file", options.input.string());
  if (options.inspect) {
    wf::inspect_gguf(options.input, std::cout);
    return kDone;
  }
  install_signals();
  return is_file ? import(options) : convert(options);
}

}  // namespace

int main(int argc, char** argv) {
  return wf::run_main("wfconvert", [&] {
    try {
      Options options;
      const int code = parse(argc, argv, options);
      return code >= 0 ? code : run(options);
    } catch (const Interrupted&) {
    } catch (const wf::Error&) {
      if (!caught_signal) throw;
    }
    wf::log::say("wfconvert: interrupted; {}", kept);
    return kInterrupted + caught_signal;
  });
}
