#include "base/environment.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/error.h"

namespace wf {
namespace {

class EnvironmentTest : public testing::Test {
 protected:
  EnvironmentTest() { clear(); }
  ~EnvironmentTest() override { clear(); }

  static void clear() {
    for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT",
                             "TORCHELASTIC_USE_AGENT_STORE"})
      unsetenv(name);
  }

  static std::string complaint() {
    try {
      Environment::read();
    } catch (const Error& error) {
      return error.what();
    }
    return "no complaint";
  }
};

TEST_F(EnvironmentTest, WithoutALauncherThereIsOneProcess) {
  const Environment env = Environment::read();
  EXPECT_EQ(env.rank, 0);
  EXPECT_EQ(env.size, 1);
  EXPECT_FALSE(env.agent_hosts_store);
}

TEST_F(EnvironmentTest, ReadsWhatTorchrunSets) {
  setenv("RANK", "5", 1);
  setenv("WORLD_SIZE", "8", 1);
  setenv("LOCAL_RANK", "1", 1);
  setenv("MASTER_ADDR", "node0", 1);
  setenv("MASTER_PORT", "1234", 1);
  setenv("TORCHELASTIC_USE_AGENT_STORE", "True", 1);
  const Environment env = Environment::read();
  EXPECT_EQ(env.rank, 5);
  EXPECT_EQ(env.size, 8);
  EXPECT_EQ(env.local_rank, 1);
  EXPECT_EQ(env.master_address, "node0");
  EXPECT_EQ(env.master_port, 1234);
  EXPECT_TRUE(env.agent_hosts_store);
}

TEST_F(EnvironmentTest, NumbersAreNumbers) {
  for (const char* text : {"", "two", "1x", "-1", " 1", "99999999999"}) {
    setenv("WORLD_SIZE", text, 1);
    EXPECT_EQ(complaint(), std::string("WORLD_SIZE='") + text +
                               "' in the environment is not a whole number; torchrun sets it");
  }
}

TEST_F(EnvironmentTest, ARankIsBelowTheWorldSize) {
  setenv("RANK", "1", 1);
  EXPECT_EQ(complaint(), "RANK=1 but WORLD_SIZE=1: a rank is below the world size");
  setenv("RANK", "0", 1);
  setenv("WORLD_SIZE", "0", 1);
  EXPECT_EQ(complaint(), "RANK=0 but WORLD_SIZE=0: a rank is below the world size");
}

}  // namespace
}  // namespace wf
