#include "base/program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/log.h"

extern char** environ;

namespace wf {
namespace {

namespace fs = std::filesystem;

// A file without a name: what the child writes to it never blocks the child.
class Scratch {
 public:
  Scratch() : file_(std::tmpfile()) {
    if (!file_) fail("cannot make a temporary file: {}", std::strerror(errno));
  }
  ~Scratch() { std::fclose(file_); }
  Scratch(const Scratch&) = delete;
  int descriptor() const { return fileno(file_); }
  std::string text() const {
    std::string text(size_t(lseek(descriptor(), 0, SEEK_END)), '\0');
    const ssize_t size = pread(descriptor(), text.data(), text.size(), 0);
    text.resize(size > 0 ? size : 0);
    return text;
  }

 private:
  std::FILE* file_;
};

fs::path own_path() {
  std::error_code none;
  return fs::read_symlink("/proc/self/exe", none);
}

std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text.substr(text.find_last_of('\n') + 1);
}

}  // namespace

int run_main(const std::string& name, const std::function<int()>& run) {
  const auto fail_saying = [&](const std::string& text) {
    log::set_narrating(true);  // every rank may fail aloud
    log::line(name + ": " + text);
    return EXIT_FAILURE;
  };
  try {
    return run();
  } catch (const Error& error) {
    return fail_saying(error.what());
  } catch (const fs::filesystem_error& error) {  // a folder that cannot be made, a full disk
    return fail_saying(error.what());
  } catch (const std::exception& error) {
    const std::string text = error.what();  // Torch's goes on with where it was thrown
    return fail_saying("internal error: " + text.substr(0, text.find("\nException raised from")));
  }
}

std::string run_program(const std::vector<std::string>& arguments, bool show_errors) {
  const Scratch output, errors;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output.descriptor(), STDOUT_FILENO);
  if (!show_errors) posix_spawn_file_actions_adddup2(&actions, errors.descriptor(), STDERR_FILENO);
  std::vector<char*> words;
  for (const auto& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  const int problem = posix_spawnp(&child, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (problem) fail("{}: cannot be run: {}", arguments[0], std::strerror(problem));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) kill(child, SIGTERM);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return output.text();
  const std::string said = show_errors ? "its message is above" : last_line(errors.text());
  const std::string how = WIFSIGNALED(status)
                              ? fmt::format("was ended by signal {}", WTERMSIG(status))
                              : fmt::format("failed with exit code {}", WEXITSTATUS(status));
  fail("{} {}: {}", fs::path(arguments[0]).filename().string(), how, said);
}

std::string wf_command() {
  for (fs::path folder = own_path().parent_path(); folder.has_relative_path();
       folder = folder.parent_path())
    if (const fs::path found = folder / ".venv/bin/wf"; fs::exists(found)) return found.string();
  return "wf";
}

std::string sibling_program(const std::string& name) {
  return (own_path().parent_path() / name).string();
}

}  // namespace wf
