// What the launcher (torchrun) says of this process.
#pragma once
#include <string>

namespace wf {

struct Environment {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  std::string master_address = "127.0.0.1";
  int master_port = 29500;
  bool agent_hosts_store =
      false;  // torchrun's agent runs the TCP store, rank 0 connects as a client

  // Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_USE_AGENT_STORE.
  // Throws Error when one of them is not a number or they contradict each other.
  static Environment read();
};

}  // namespace wf
