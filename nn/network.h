// Networks: named values in, named values out.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "nn/module.h"

namespace tessera::nn {

using Values = std::map<std::string, Value>;

class Network {
 public:
  virtual ~Network() = default;
  // Builds the network on `inputs`, which has what the task gives it; its results by name. Throws
  // Error naming an input that is missing.
  virtual Values forward(Scope& scope, const Values& inputs) const = 0;
};

// A module as a network of one input and one output.
class ModuleNetwork final : public Network {
 public:
  explicit ModuleNetwork(std::shared_ptr<const Module> module, std::string input = "x",
                         std::string output = "logits");
  Values forward(Scope& scope, const Values& inputs) const override;

 private:
  std::shared_ptr<const Module> module_;
  std::string input_, output_;
};

// The same, shared: "x" -> "logits".
std::shared_ptr<const Network> as_network(std::shared_ptr<const Module> module);

// The value of that name. Throws Error, saying who asks and what there is.
Value require(const Values& values, const std::string& name, const std::string& who);

}  // namespace tessera::nn
