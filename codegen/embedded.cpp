#include "codegen/embedded.h"

#include <utility>

#include "codegen/c_source.h"
#include "core/error.h"
#include "core/text.h"

namespace tessera {

namespace {

constexpr std::size_t kColumns = 100;

bool stands_for_itself(char c) {
  // A question mark may begin a trigraph.
  return c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '?';
}

// String literals, one a line, of about as many columns.
void add_literals(std::string& out, std::string_view bytes) {
  std::string line;
  const auto end_line = [&] { out += cat("\n    \"", std::exchange(line, ""), "\""); };
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (stands_for_itself(c)) {
      line += c;
    } else {  // always three digits: what follows may be one
      line += '\\';
      for (const int shift : {6, 3, 0}) line += static_cast<char>('0' + (byte >> shift & 7));
    }
    if (line.size() + 10 > kColumns) end_line();
  }
  if (!line.empty() || bytes.empty()) end_line();
}

}  // namespace

std::string embedded_source(std::string_view json, std::string_view weights,
                            const std::string& name, const std::string& origin) {
  check(!name.empty() && c_identifier(name) == name, "'", name, "' is no name of a namespace");
  std::string out =
      cat("// ", printable(origin), ", a model in a header, written by tessera export.\n",
          "//   const tessera::Plan plan = compile(", name, "::load());\n",
          "#pragma once\n\n#include \"tessera/runtime.h\"\n\nnamespace ", name,
          " {\n\ninline constexpr char kGraph[] =");
  add_literals(out, json);
  out += ";\ninline constexpr char kWeights[] =";
  add_literals(out, weights);
  out += cat(";\n\ninline tessera::Model load() {\n  return tessera::load_from_memory({kGraph, ",
             json.size(), "}, {kWeights, ", weights.size(), "}, \"", name,
             "\");\n}\n\n}  // namespace ", name, "\n");
  return out;
}

}  // namespace tessera
