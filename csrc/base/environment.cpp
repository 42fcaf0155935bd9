#include "base/environment.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace wf {
namespace {

int read_int(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  if (!text) return otherwise;
  const std::string_view view(text);
  int value = 0;
  const auto [end, bad] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (bad != std::errc{} || end != view.data() + view.size() || value < 0)
    fail("{}='{}' in the environment is not a whole number; torchrun sets it", name, text);
  return value;
}

}  // namespace

Environment Environment::read() {
  Environment env;
  env.rank = read_int("RANK", env.rank);
  env.size = read_int("WORLD_SIZE", env.size);
  env.local_rank = read_int("LOCAL_RANK", env.local_rank);
  env.master_port = read_int("MASTER_PORT", env.master_port);
  if (const char* address = std::getenv("MASTER_ADDR")) env.master_address = address;
  if (const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE"))
    env.agent_hosts_store = std::string_view(agent) == "True";
  if (env.rank >= env.size)
    fail("RANK={} but WORLD_SIZE={}: a rank is below the world size", env.rank, env.size);
  return env;
}

}  // namespace wf
