// State on its way to and from the disk: tensors in a .safetensors file, numbers in JSON.
#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "io/named_tensor.h"
#include "io/state.h"

namespace wf {

// Collects what it visits. Tensors are held, not copied: write before they change.
class StateSaver : public StateVisitor {
 public:
  void operator()(const std::string& name, torch::Tensor& value) override;
  void operator()(const std::string& name, int64_t& value) override;
  void operator()(const std::string& name, double& value) override;

  const std::vector<NamedTensor>& tensors() const { return tensors_; }
  // {"integers": {...}, "doubles": {...}}; every double reads back to the same bits.
  nlohmann::json numbers() const;

 private:
  void claim(const std::string& name);  // throws Error when the name was visited before
  std::set<std::string> names_;
  std::vector<NamedTensor> tensors_;
  std::map<std::string, int64_t> integers_;
  std::map<std::string, double> doubles_;
};

// Feeds what a StateSaver wrote into what it visits. Throws Error naming an entry that is missing
// or does not fit; finish() throws when entries were left over.
class StateLoader : public StateVisitor {
 public:
  StateLoader(const std::filesystem::path& tensors, const std::filesystem::path& numbers);
  void operator()(const std::string& name, torch::Tensor& value) override;
  void operator()(const std::string& name, int64_t& value) override;
  void operator()(const std::string& name, double& value) override;
  void finish() const;

 private:
  const nlohmann::json& number(const char* kind, const std::string& name);
  Safetensors tensors_;
  std::string numbers_path_;
  nlohmann::json numbers_;
  std::set<std::string> unread_;
};

}  // namespace wf
