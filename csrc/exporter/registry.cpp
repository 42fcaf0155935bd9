#include "exporter/registry.h"

#include "exporter/hf_latent.h"
#include "exporter/hf_packed.h"

namespace wf {

const config::Registry<Exporter>& exporters() {
  static const config::Registry<Exporter> table{
      "exporter",
      {
          config::entry<HfLatent, Exporter>("hf_latent",
                                            "transformers folder, float masters, quantised online"),
          config::entry<HfPacked, Exporter>("hf_packed", "transformers folder, four codes a byte"),
      }};
  return table;
}

}  // namespace wf
