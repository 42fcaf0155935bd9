// Every persisted value is declared once: an object's state(visit) serves saving and loading alike.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <string>

namespace wf {

// Saving or loading; the visited object cannot tell which, so the two cannot drift apart.
// When loading, a tensor is copied into the existing one (same shape and dtype, or wf::Error naming
// both); an undefined tensor receives a new one.
class StateVisitor {
 public:
  virtual ~StateVisitor() = default;
  virtual void operator()(const std::string& name, torch::Tensor& value) = 0;
  virtual void operator()(const std::string& name, int64_t& value) = 0;
  virtual void operator()(const std::string& name, double& value) = 0;
};

}  // namespace wf
