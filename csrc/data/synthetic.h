// Random tokens, for benchmarks and tests that need no corpus.
#pragma once
#include <vector>

#include "config/check.h"
#include "config/field.h"
#include "data/data_shape.h"
#include "data/source.h"

namespace wf {

// Every row holds the same number of documents of (nearly) equal length.
class Synthetic : public DataSource {
 public:
  struct Config {
    int64_t documents_per_row = 1;
    int64_t seed = 0;
    static constexpr auto fields() {
      return config::fields<Config>(config::field<&Config::documents_per_row>(
                                        "1 is plain causal attention", config::positive),
                                    config::field<&Config::seed>("of the tokens"));
    }
  };

  Synthetic(const Config& config, const DataShape& shape);
  Batch next() override;
  void state(StateVisitor& visit) override;
  std::vector<const TokenShards*> corpora() const override { return {}; }

 private:
  DataShape shape_;
  uint64_t key_;
  std::vector<int64_t> starts_;  // of the documents after a row's first
  int64_t row_ = 0;              // the first row of the next global batch
};

}  // namespace wf
