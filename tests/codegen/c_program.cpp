#include "tests/codegen/c_program.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "codegen/c_text.h"
#include "core/files/atomic_file.h"
#include "tests/core/sample_models.h"

namespace tessera::testing {

void CProgram::add(const CSource& source, const std::string& name,
                   const std::vector<Tensor>& inputs, const std::vector<TensorType>& outputs) {
  text_ += source.text;
  entries_.push_back({name, inputs, outputs});
}

std::vector<std::vector<Tensor>> CProgram::run(const std::string& compiler,
                                               const std::string& runner) {
  // Every array has its own memory of just its size, so that the sanitizer sees each step outside.
  std::string driver =
      "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\n";
  std::string main = "int main(void) {\n", bytes;
  for (const Entry& entry : entries_) {
    driver += cat("static int test_", entry.name, "(void) {\n");
    std::string call, read, write, release;
    int count = 0;
    const auto array = [&](DType dtype, std::int64_t size) {
      const std::string name = cat("p", count++);
      driver += cat("  ", *c_type(dtype), " *", name, " = malloc(", size, ");\n");
      release += cat("  free(", name, ");\n");
      call += name + ", ";
      return name;
    };
    for (const Tensor& input : entry.inputs) {
      const std::string name = array(input.dtype(), input.bytes());
      read += cat("  if (fread(", name, ", 1, ", input.bytes(), ", stdin) != ", input.bytes(),
                  ") return 2;\n");
      bytes.append(reinterpret_cast<const char*>(input.data()),
                   static_cast<std::size_t>(input.bytes()));
    }
    for (const TensorType& output : entry.outputs) {
      const std::int64_t size = output.shape.numel() * size_of(output.dtype);
      write += cat("  fwrite(", array(output.dtype, size), ", 1, ", size, ", stdout);\n");
    }
    std::string macro = entry.name;
    for (char& c : macro) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    // What the scratch holds before must not matter.
    driver += cat("  void *scratch = malloc(", macro, "_SCRATCH_BYTES);\n  memset(scratch, 255, ",
                  macro, "_SCRATCH_BYTES);\n", read, "  const int code = ", entry.name, "_run(",
                  call, "scratch);\n", write, release, "  free(scratch);\n  return code;\n}\n");
    main += cat("  if (test_", entry.name, "()) { fprintf(stderr, \"", entry.name,
                " failed\\n\"); return 1; }\n");
  }
  const TempFolder folder("c_program");
  const std::string source = (folder / "net.c").string(), program = (folder / "net").string();
  const std::string in = (folder / "in").string(), out = (folder / "out").string(),
                    log = (folder / "log").string();
  write_file(source, text_ + driver + main + "  return 0;\n}\n");
  write_file(in, bytes);
  const std::string compile = cat(compiler, " -std=c99 -O1 -Wall -Wextra -Wpedantic -Werror ",
                                  source, " -o ", program, " -lm > ", log, " 2>&1");
  EXPECT_EQ(std::system(compile.c_str()), 0) << compile << "\n" << read_file(log).substr(0, 4000);
  if (::testing::Test::HasFailure()) return {};
  EXPECT_EQ(std::system(cat(runner, " ", program, " < ", in, " > ", out, " 2> ", log).c_str()), 0)
      << read_file(log).substr(0, 4000);
  if (::testing::Test::HasFailure()) return {};
  const std::string results = read_file(out);
  std::vector<std::vector<Tensor>> all;
  std::size_t at = 0;
  for (const Entry& entry : entries_) {
    std::vector<Tensor> outputs;
    for (const TensorType& type : entry.outputs) {
      Tensor tensor(type.dtype, type.shape);
      const auto size = static_cast<std::size_t>(tensor.bytes());
      if (at + size > results.size()) {
        ADD_FAILURE() << "the program wrote " << results.size() << " bytes";
        return {};
      }
      std::memcpy(tensor.data(), results.data() + at, size);
      at += size;
      outputs.push_back(std::move(tensor));
    }
    all.push_back(std::move(outputs));
  }
  EXPECT_EQ(at, results.size());
  return all;
}

}  // namespace tessera::testing
