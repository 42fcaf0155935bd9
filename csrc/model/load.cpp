#include "model/load.h"

#include <fmt/ranges.h>
#include <torch/torch.h>

#include "base/error.h"
#include "io/tensor_file.h"
#include "model/packed_codes.h"
#include "ops/ternary.h"

namespace wf {

using torch::Tensor;

namespace {

Tensor unpacked_master(const HfFolder& folder, const std::string& name, Storage storage) {
  const Tensor master = unpack_codes(as_torch(folder.tensor(name)));
  ops::master_from_codes_(master, torch::scalar_tensor(packed_scale(folder, name, storage)));
  return master;
}

void copy_parameter(const HfFolder& folder, const Parameter& parameter, Storage storage) {
  const Tensor stored = as_torch(folder.tensor(parameter.name));
  const bool packed = storage != Storage::kLatent && parameter.role == Role::kLinear &&
                      stored.scalar_type() == torch::kUInt8;
  const Tensor value = packed ? unpacked_master(folder, parameter.name, storage) : stored;
  if (!packed && !stored.is_floating_point())
    fail(
        "{}: tensor '{}' is {}, expected floating point (config.json has no quantization_config "
        "for it)",
        folder.path().string(), parameter.name, c10::toString(stored.scalar_type()));
  if (value.sizes() != parameter.value.sizes())
    fail("{}: tensor '{}' has shape [{}], the model expects [{}]", folder.path().string(),
         parameter.name, fmt::join(value.sizes(), ", "), fmt::join(parameter.value.sizes(), ", "));
  parameter.value.copy_(value);
}

}  // namespace

std::shared_ptr<Decoder> load_decoder(const HfFolder& folder, const LoadOptions& options) {
  const torch::NoGradGuard no_grad;
  const std::string where = (folder.path() / "config.json").string();
  DecoderConfig config = read_decoder_config(folder);
  const Storage storage = storage_of(folder.config(), where);
  if (options.insert_sub_norms && config.sub_norm)
    fail("{}: the model has sub-norms already: no insert_subln is needed, go on with training",
         where);
  config.sub_norm = config.sub_norm || options.insert_sub_norms;

  auto model = std::make_shared<Decoder>(config, options.precision);
  std::vector<std::string> wanted;
  for (const auto& parameter : model->trained_parameters())
    if (!options.insert_sub_norms || !parameter.name.ends_with("_sub_norm.weight"))
      wanted.push_back(parameter.name);
  check_tensor_names(folder, config, wanted);
  for (const auto& parameter : model->trained_parameters())
    if (folder.contains(parameter.name)) copy_parameter(folder, parameter, storage);
  return model;
}

}  // namespace wf
