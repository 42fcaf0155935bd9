// Real processes over Gloo on the loopback address.
#include "parallel/c10d.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/error.h"

namespace wf {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kThisProgram = std::filesystem::read_symlink("/proc/self/exe");

// A listening socket on a port the system chose.
class Listener {
 public:
  Listener() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {INADDR_ANY}, .sin_zero = {}};
    socklen_t length = sizeof(address);
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        listen(socket_, 1) != 0 ||
        getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
      fail("cannot listen on a loopback port");
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { close(socket_); }
  int port() const { return port_; }

 private:
  int socket_, port_;
};

struct Outcome {
  std::string output;
  double seconds;
};

Outcome shell(const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  Outcome outcome;
  std::array<char, 4096> part;
  while (const std::size_t size = fread(part.data(), 1, part.size(), pipe))
    outcome.output.append(part.data(), size);
  pclose(pipe);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

std::string rank_command(int rank, int size, int port, const std::string& job) {
  return fmt::format(
      "RANK={} WORLD_SIZE={} LOCAL_RANK={} MASTER_ADDR=127.0.0.1 MASTER_PORT={} '{}' "
      "--worker {}",
      rank, size, rank, port, kThisProgram, job);
}

// Ranks as plain processes, without a launcher: rank 0 hosts the store.
Outcome start(int size, const std::string& job) {
  const int port = Listener().port();
  std::string command = "(";
  for (int rank = 0; rank < size; ++rank) command += rank_command(rank, size, port, job) + " & ";
  return shell(command + "wait)");
}

void expect_all_done(const Outcome& outcome, int size) {
  for (int rank = 0; rank < size; ++rank)
    EXPECT_THAT(outcome.output, HasSubstr(fmt::format("rank {}: done\n", rank)));
}

TEST(C10d, ComputesEveryCollectiveInEveryType) { expect_all_done(start(3, "collectives"), 3); }

TEST(C10d, SumsToTheSameBitsOnEveryRankAndEveryTime) { expect_all_done(start(3, "same_bits"), 3); }

TEST(C10d, RunsUnderTorchrunWhoseAgentHostsTheStore) {
  const auto outcome = shell(fmt::format(
      "'{}' -m torch.distributed.run --no-python --standalone --nproc-per-node 2 '{}' --worker "
      "collectives",
      WF_PYTHON, kThisProgram));
  expect_all_done(outcome, 2);
}

TEST(C10d, EndsWithAClearErrorWhenARankDies) {
  const auto outcome = start(3, "last_rank_dies");
  for (int rank = 0; rank < 2; ++rank)
    EXPECT_THAT(outcome.output,
                HasSubstr(fmt::format("rank {} of 3: all_reduce_sum failed: another rank has ended",
                                      rank)));
  EXPECT_THAT(outcome.output, Not(HasSubstr("done")));
  EXPECT_LT(outcome.seconds, 40) << "it waited for the time-out of 60 s";
}

TEST(C10d, EndsWithAClearErrorWhenARankGivesNoAnswer) {
  EXPECT_THAT(start(2, "last_rank_sleeps").output,
              HasSubstr("rank 0 of 2: all_gather failed: another rank has ended, or gave no answer "
                        "within 3 s"));
}

TEST(C10d, SaysWhenARankNeverCame) {
  const int port = Listener().port();
  EXPECT_THAT(shell(rank_command(0, 2, port, "nothing")).output,
              HasSubstr(fmt::format("rank 0 of 2: could not meet the other ranks at 127.0.0.1:{} "
                                    "within 3 s",
                                    port)));
  EXPECT_THAT(shell(rank_command(1, 2, port, "nothing")).output,
              HasSubstr("rank 1 of 2: could not meet the other ranks"));
}

TEST(C10d, SaysWhenThePortIsTaken) {
  const Listener listener;
  EXPECT_THAT(shell(rank_command(0, 2, listener.port(), "nothing")).output,
              testing::AllOf(HasSubstr(std::to_string(listener.port())),
                             HasSubstr("that the port is free"), HasSubstr("EADDRINUSE")));
}

TEST(C10d, RefusesTensorsItCannotMove) { expect_all_done(start(2, "misuse"), 2); }

TEST(Buckets, SumGradientsOfMixedTypesAndSizes) { expect_all_done(start(2, "buckets"), 2); }

}  // namespace
}  // namespace wf
