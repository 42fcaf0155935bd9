#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "parallel/backend.h"

namespace wf {

c10::intrusive_ptr<c10d::Backend> make_gloo(c10::intrusive_ptr<c10d::Store> store,
                                            const Environment& environment,
                                            std::chrono::milliseconds timeout) {
  using c10d::ProcessGroupGloo;
  const std::string& master = environment.master_address;
  // Ranks that meet on the loopback address are all on this machine and talk over it; others over
  // the address that this machine's name resolves to.
  const bool local = master == "127.0.0.1" || master == "localhost" || master == "::1";
  auto options = ProcessGroupGloo::Options::create(timeout);
  options->devices.push_back(local ? ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                   : ProcessGroupGloo::createDefaultDevice());
  return c10::make_intrusive<ProcessGroupGloo>(store, environment.rank, environment.size, options);
}

}  // namespace wf
