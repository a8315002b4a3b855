#include "codegen/c_source.h"

#include <algorithm>
#include <cctype>

#include "codegen/c_text.h"
#include "codegen/c_writer.h"
#include "core/passes/passes.h"
#include "core/text.h"
#include "core/version.h"

namespace tessera {

namespace {

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// Text of others inside a comment.
std::string in_comment(std::string_view text) {
  std::string out = escaped(text);
  for (std::size_t at = out.find("*/"); at != std::string::npos; at = out.find("*/"))
    out.replace(at, 2, "* /");
  for (std::size_t at = out.find("/*"); at != std::string::npos; at = out.find("/*"))
    out.replace(at, 2, "/ *");
  return out;
}

class File {
 public:
  File(const CSourceOptions& options, const CWriter& writer)
      : options_(options), writer_(writer), macro_(upper(options.name)) {}

  std::string text() const {
    return cat(head(), interface(), "#ifndef ", macro_, "_DECLARATIONS_ONLY\n\n#include <math.h>\n",
               "#include <string.h>\n\n", writer_.helpers(), writer_.arrays(), "\n", function(),
               main_program(), "#endif\n");
  }

 private:
  std::string size(const CWriter::Argument& a) const {
    return cat(macro_, "_", upper(a.name), "_SIZE");
  }

  std::string head() const {
    std::string out =
        cat("/* ", options_.name, ", made by Tessera ", version(),
            options_.origin.empty() ? "" : cat(" from ", in_comment(options_.origin)),
            ".\n   C99; needs <math.h> (link with -lm) and <string.h>, allocates nothing.\n", "   ",
            writer_.constant_bytes(), " bytes of constants, ", writer_.scratch_bytes(),
            " of scratch.\n\n");
    out +=
        cat("   int ", options_.name, "_run(inputs..., outputs..., scratch) runs it once; 0: done",
            writer_.can_fail() ? ", 1: an index is out of range" : "", ".\n");
    for (const CWriter::Argument& a : writer_.arguments()) {
      out += cat("     ", a.output ? "output " : "input  ", a.name, "  ", a.type.text());
      if (a.carried >= 0) {
        out += cat(": the next ", writer_.arguments()[static_cast<std::size_t>(a.carried)].name,
                   ", and may lie where that does; zeros at the start of a sequence");
      }
      out += "\n";
    }
    return out +
           cat("   Arrays do not overlap otherwise. The scratch is as aligned as malloc's "
               "memory.\n\n",
               "   As a header: #define ", macro_, "_DECLARATIONS_ONLY before including it.\n",
               "   As a program: cc -std=c99 -O2 -D", macro_, "_MAIN ", options_.name, ".c -lm;\n",
               "   it reads the inputs of one run after another from stdin, as raw bytes, and "
               "writes\n",
               "   the outputs to stdout. */\n");
  }

  std::string declaration() const {
    std::string out = cat("int ", options_.name, "_run(");
    for (const CWriter::Argument& a : writer_.arguments()) {
      out += cat(a.output ? "" : "const ", *c_type(a.type.dtype), " *", a.name, ", ");
    }
    return out + "void *tessera_scratch)";
  }

  std::string interface() const {
    std::string out = cat("#ifndef ", macro_, "_DECLARED\n#define ", macro_,
                          "_DECLARED\n\n#include <stdint.h>\n\n");
    for (const CWriter::Argument& a : writer_.arguments())
      out += cat("#define ", size(a), " ", a.type.shape.numel(), "\n");
    out += cat("#define ", macro_, "_SCRATCH_BYTES ",
               std::max<std::int64_t>(writer_.scratch_bytes(), 1),
               "\n\n#ifdef __cplusplus\nextern \"C\"\n#endif\n", declaration(), ";\n\n#endif\n");
    return out;
  }

  std::string function() const {
    std::string out = cat(declaration(), " {\n  unsigned char *const scratch = tessera_scratch;\n",
                          "  float *const buffer = (float *)(scratch + ", writer_.arena_bytes(),
                          ");\n  (void)buffer;\n");
    return out + writer_.body() + "  return 0;\n}\n\n";
  }

  // Records of the inputs on stdin become records of the outputs on stdout.
  std::string main_program() const {
    std::string out = cat("#ifdef ", macro_, "_MAIN\n#include <stdio.h>\n\nint main(void) {\n");
    std::string call, read, write;
    for (const CWriter::Argument& a : writer_.arguments()) {
      const std::string name = "io_" + a.name;
      call += cat(name, ", ");
      const bool is_carried = std::ranges::any_of(writer_.arguments(), [&](const auto& other) {
        return other.carried >= 0 &&
               writer_.arguments()[static_cast<std::size_t>(other.carried)].name == a.name;
      });
      if (a.carried >= 0) {
        const std::string from = writer_.arguments()[static_cast<std::size_t>(a.carried)].name;
        out += cat("  ", *c_type(a.type.dtype), " *const ", name, " = io_", from, ";\n");
        continue;
      }
      out += cat("  static ", *c_type(a.type.dtype), " ", name, "[", size(a), "];\n");
      if (is_carried) continue;
      if (a.output) {
        write += cat("    if (fwrite(", name, ", sizeof *", name, ", ", size(a),
                     ", stdout) != ", size(a), ") return 1;\n");
      } else {
        read += cat("    got = fread(", name, ", sizeof *", name, ", ", size(a),
                    ", stdin);\n    if (got != ", size(a), ") break;\n    first = 0;\n");
      }
    }
    // The end of the input is where a record would begin.
    return out + cat("  static double work[", macro_, "_SCRATCH_BYTES / sizeof(double) + 1];\n",
                     "  size_t got = 0;\n  int first = 1;\n  for (;; first = 1) {\n", read,
                     "    if (", options_.name, "_run(", call, "work) != 0) return 1;\n", write,
                     "  }\n  if (got == 0 && first) return 0;\n",
                     "  fprintf(stderr, \"the input ends inside a record\\n\");\n  return "
                     "1;\n}\n#endif\n");
  }

  const CSourceOptions& options_;
  const CWriter& writer_;
  std::string macro_;
};

}  // namespace

std::string c_identifier(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool fits =
        std::isalnum(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 128;
    if (!fits && (out.empty() || out.back() == '_')) continue;
    out += fits ? c : '_';
  }
  while (!out.empty() && out.back() == '_') out.pop_back();
  if (out.empty() || std::isdigit(static_cast<unsigned char>(out.front()))) out.insert(0, "n");
  return out;
}

CSource c_source(const Model& model, const CSourceOptions& options) {
  check(options.name == c_identifier(options.name), "the name ", Quoted{options.name},
        " is no C identifier; ", c_identifier(options.name), " would be one");
  check(model.graph.updates().empty(), "a graph that updates state cannot be written as C");
  PassContext passes;
  const Graph graph = run_passes(specialize(model.graph, options.batch), passes, false);
  CWriter::Inputs inputs;
  for (const Node* node : model.graph.inputs())
    inputs.emplace_back(node->name(), node->types()[0].bind(options.batch));
  CWriter writer(graph, model.state, inputs, options.name);
  writer.write();
  return {File(options, writer).text(), writer.constant_bytes(), writer.scratch_bytes(),
          writer.decoded()};
}

}  // namespace tessera
