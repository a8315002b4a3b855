// Networks written as C, compiled together with the sanitizers and run.
#pragma once

#include <string>
#include <vector>

#include "codegen/c_source.h"
#include "core/tensor.h"

namespace tessera::testing {

class CProgram {
 public:
  // A network and one run of it: inputs in the order of the graph, number of elements of the
  // outputs in theirs. Bytes of what is not f32 are as C has them.
  void add(const CSource& source, const std::string& name, const std::vector<Tensor>& inputs,
           const std::vector<TensorType>& outputs);
  // The outputs of each network. Fails the test, with what the compiler or the program said, where
  // it does not compile without a warning or does not end well. `runner` starts the program.
  std::vector<std::vector<Tensor>> run(
      const std::string& compiler = "gcc -fsanitize=address,undefined -fno-sanitize-recover=all",
      const std::string& runner = "");

 private:
  struct Entry {
    std::string name;
    std::vector<Tensor> inputs;
    std::vector<TensorType> outputs;
  };
  std::string text_;
  std::vector<Entry> entries_;
};

}  // namespace tessera::testing
