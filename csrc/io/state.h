// Every persisted value is declared once: an object's state(visit) serves saving and loading alike.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>

namespace wf {

// Saving or loading; the visited object cannot tell which, so the two cannot drift apart.
// When loading, a tensor is copied into the existing one (same shape and dtype, or wf::Error naming
// both); an undefined tensor receives a new one, on the CPU.
class StateVisitor {
 public:
  virtual ~StateVisitor() = default;
  virtual void operator()(const std::string& name, torch::Tensor& value) = 0;
  virtual void operator()(const std::string& name, int64_t& value) = 0;
  virtual void operator()(const std::string& name, double& value) = 0;
};

// A part's names under its owner's: `Prefixed within(visit, "data."); source.state(within);`
class Prefixed : public StateVisitor {
 public:
  Prefixed(StateVisitor& outer, std::string prefix) : outer_(outer), prefix_(std::move(prefix)) {}
  void operator()(const std::string& name, torch::Tensor& value) override {
    outer_(prefix_ + name, value);
  }
  void operator()(const std::string& name, int64_t& value) override {
    outer_(prefix_ + name, value);
  }
  void operator()(const std::string& name, double& value) override {
    outer_(prefix_ + name, value);
  }

 private:
  StateVisitor& outer_;
  std::string prefix_;
};

}  // namespace wf
