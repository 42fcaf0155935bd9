#include "data/registry.h"

#include "data/mixture.h"
#include "data/synthetic.h"

namespace wf {

const config::Registry<DataSource, const DataShape&>& data_sources() {
  static const config::Registry<DataSource, const DataShape&> table{
      "data source",
      {
          config::entry<Mixture, DataSource, const DataShape&>(
              "shards", "rows of prepared folders, drawn by weight"),
          config::entry<Synthetic, DataSource, const DataShape&>("synthetic", "random tokens"),
      }};
  return table;
}

}  // namespace wf
