// Rows of one or several prepared folders, drawn by weight.
#pragma once
#include <string>
#include <vector>

#include "config/check.h"
#include "config/field.h"
#include "data/data_shape.h"
#include "data/row_order.h"
#include "data/source.h"
#include "data/token_shards.h"

namespace wf {

// Rows have one global order, whatever the number of ranks: row g comes from the source that
// (seed, g) draws. Rank k of n packs the rows k, k + n, ... of each global batch of B * n; it walks
// past the others, which costs one hash each, so that a state is g and a place in every source.
class Mixture : public DataSource {
 public:
  struct Source {
    std::string path;
    double weight = 1;
    static constexpr auto fields() {
      return config::fields<Source>(
          config::field<&Source::path>("folder that `wf data prepare` made", config::required,
                                       config::non_empty),
          config::field<&Source::weight>("share of the rows, relative to the other sources",
                                         config::positive));
    }
  };
  struct Config {
    std::vector<Source> sources;
    int64_t seed = 0;
    static constexpr auto fields() {
      return config::fields<Config>(
          config::field<&Config::sources>("prepared folders and their weights", config::required,
                                          config::non_empty),
          config::field<&Config::seed>("of the order of rows and of the draw of sources"));
    }
  };

  Mixture(const Config& config, const DataShape& shape);
  Batch next() override;
  void state(StateVisitor& visit) override;
  std::vector<const TokenShards*> corpora() const override;

 private:
  struct Stream {
    TokenShards corpus;
    RowOrder order;
    double weight;
    int64_t epoch = 0, row = 0;  // the next row it gives

    void advance();
  };
  Stream& stream_of(int64_t row);

  DataShape shape_;
  uint64_t draw_key_;
  std::vector<Stream> streams_;
  double total_weight_ = 0;
  int64_t row_ = 0;  // g: the first row of the next global batch
};

}  // namespace wf
