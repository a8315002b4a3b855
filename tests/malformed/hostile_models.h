// Small models, each of which asks for too much or says what it must not: what is inspected or
// verified must end in one line or in success, quickly and in little memory.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "core/files/json_io.h"
#include "core/files/safetensors.h"
#include "core/op_def.h"
#include "tests/malformed/archives.h"

namespace tessera::testing {

struct HostileFile {
  std::string name;  // of the file to read
  std::vector<std::string> verbs = {"inspect", "verify"};
  std::vector<std::string> flags = {};
};

// A document by its parts; the weights are zeros of the params' types.
class HostileModel {
 public:
  int node(Json fields) {
    fields["id"] = nodes_.size();
    nodes_.push_back(std::move(fields));
    return static_cast<int>(nodes_.size()) - 1;
  }
  int param(const std::string& name, const std::string& type) {
    const TensorType parsed = parse_type(type);
    tensors_[name] = Tensor(parsed.dtype, parsed.shape);
    return node({{"op", "param"}, {"name", name}, {"type", type}});
  }
  int op(const std::string& op, const Json& inputs, const Json& attrs, const Json& type) {
    return node({{"op", op}, {"inputs", inputs}, {"attrs", attrs}, {"type", type}});
  }
  void output(const std::string& name, const Json& value) {
    outputs_.push_back({{"name", name}, {"value", value}});
  }
  void set(const std::string& field, Json value) { more_[field] = std::move(value); }

  void write(const std::filesystem::path& folder, const std::string& name) const {
    const SafetensorsImage image = make_safetensors(tensors_);
    image.write(folder / (name + ".safetensors"));
    Json all = {{"format", "tessera.graph"},
                {"version", 1},
                {"weights", {{"file", name + ".safetensors"}, {"sha256", image.sha256()}}},
                {"nodes", nodes_},
                {"outputs", outputs_}};
    all.update(more_);
    write_file(folder / (name + ".json"), json_text(all));
  }

 private:
  TensorMap tensors_;
  Json nodes_ = Json::array(), outputs_ = Json::array(), more_ = Json::object();
};

namespace detail {

// Values of gigabytes from a few bytes.
inline void write_wide(const std::filesystem::path& folder, std::vector<HostileFile>& out) {
  HostileModel sparse;
  sparse.op("sparse", {sparse.param("p", "u8[1]"), sparse.param("v", "f32[1]")},
            {{"shape", "[1073741824]"}}, "f32[1073741824]");
  sparse.output("y", 2);
  sparse.write(folder, "sparse");
  out.push_back({"sparse.json"});

  HostileModel prologue;
  const int wide = prologue.op("broadcast_to", {prologue.param("w", "f32[1]")},
                               {{"shape", "[1073741824]"}}, "f32[1073741824]");
  prologue.output("y", prologue.op("exp", {wide}, Json::object(), "f32[1073741824]"));
  prologue.write(folder, "prologue");
  out.push_back({"prologue.json"});

  HostileModel run;
  run.node({{"op", "input"}, {"name", "x"}, {"type", "f32[batch,1]"}});
  const int spread =
      run.op("broadcast_to", {0}, {{"shape", "[batch,268435456]"}}, "f32[batch,268435456]");
  run.output("y", run.op("exp", {spread}, Json::object(), "f32[batch,268435456]"));
  run.write(folder, "run");
  out.push_back({"run.json"});
  out.push_back({"run.json", {"inspect", "verify", "export"}, {"--batch", "8589934592"}});

  HostileModel books;
  books.node({{"op", "input"}, {"name", "x"}, {"type", "f32[batch,1]"}});
  const int indices = books.param("i", "u8[1000000]"), entries = books.param("e", "s8[1000000,1]");
  const int weight = books.op("codebook", {indices, entries, nullptr},
                              {{"shape", "[1000000,1]"}, {"bits", 8}, {"group_rows", 1}},
                              "f32[1000000,1]@cb8:s8/g1");
  books.output("y", books.op("matmul", {0, weight}, {{"transpose_b", true}}, "f32[batch,1000000]"));
  books.write(folder, "books");
  out.push_back({"books.json"});

  HostileModel window;
  window.op("avg_pool2d", {window.param("x", "f32[1,17,5,6]")},
            {{"kernel", {65536, 1048575}},
             {"padding", {32765, 524284, 32766, 524286}},
             {"stride", {1, 1}},
             {"count_pad", false}},
            "f32[1,17,1,2]");
  window.output("y", 1);
  window.write(folder, "window");
  out.push_back({"window.json"});
}

// Long lists and chains.
inline void write_long(const std::filesystem::path& folder, std::vector<HostileFile>& out) {
  HostileModel outputs;
  outputs.param("s", "f32[]");
  for (int i = 0; i < 45000; ++i) outputs.output(cat("o", i), 0);
  outputs.write(folder, "outputs");
  out.push_back({"outputs.json"});

  // A chain of views, and one of steps that keep each other waiting.
  HostileModel views;
  int last = views.param("w", "f32[6]");
  for (int i = 0; i < 15000; ++i) {
    const char* shape = i % 2 ? "[6]" : "[3,2]";
    last = views.op("reshape", {last}, {{"shape", shape}}, cat("f32", shape));
  }
  views.output("y", views.op("neg", {last}, Json::object(), "f32[6]"));
  views.write(folder, "views");
  out.push_back({"views.json"});

  HostileModel updates;
  Json list = Json::array();
  for (int i = 0; i < 6000; ++i) {
    const int state = updates.param(cat("s", i), "f32[2]");
    const int next =
        updates.op("add", {state, i == 0 ? state : state - 1}, Json::object(), "f32[2]");
    list.push_back({{"state", state}, {"value", next}});
  }
  updates.set("updates", list);
  updates.write(folder, "updates");
  out.push_back({"updates.json"});

  HostileModel steps;
  steps.node({{"op", "input"}, {"name", "x"}, {"type", "f32[batch,2]"}});
  for (int i = 0; i < 10000; ++i) steps.op("softmax", {i}, Json::object(), "f32[batch,2]");
  steps.output("y", 10000);
  steps.write(folder, "steps");
  out.push_back({"steps.json"});

  std::string text = "[";
  while (text.size() < (5 << 20)) text += "{},";
  write_file(folder / "objects.json", text + "{}]");
  out.push_back({"objects.json"});
  write_file(folder / "large.json", "{\"format\":\"" + std::string(70 << 20, 'x') + "\"}");
  out.push_back({"large.json"});
}

// Names that are not only names.
inline void write_names(const std::filesystem::path& folder, std::vector<HostileFile>& out) {
  const std::string name =
      "\x1b[31mEVIL\x1b[0m\ntessera: error: forged\xc2\x9b"
      "2J";
  HostileModel escapes;
  escapes.param(name, "f32[2]");
  escapes.node({{"op", "neg"}, {"name", name}, {"inputs", {0}}, {"type", "f32[2]"}});
  escapes.output(name, 1);
  escapes.set("settings", {{name, name}});
  escapes.write(folder, "escapes");
  out.push_back({"escapes.json", {"inspect", "verify", "export"}});
  // The same as a classifier of digits.
  HostileModel digits;
  digits.node({{"op", "input"}, {"name", "x"}, {"type", "f32[batch,784]"}});
  digits.param(name, "f32[784,10]");
  digits.output("logits", digits.op("matmul", {0, 1}, Json::object(), "f32[batch,10]"));
  digits.set("settings", {{name, name}});
  digits.write(folder, "digits");
  out.push_back({"digits.json"});
  // In an error: twice the same name.
  HostileModel twice;
  twice.param(name, "f32[2]");
  twice.param(name, "f32[2]");
  twice.write(folder, "twice");
  out.push_back({"twice.json"});

  for (const auto& [file, weights] :
       {std::pair("long", std::string(300, 'a')), std::pair("outside", std::string("../x")),
        std::pair("dots", std::string("..")), std::pair("missing", name + ".safetensors")}) {
    HostileModel model;
    model.param("w", "f32[2]");
    model.output("y", 0);
    model.set("weights", {{"file", weights}, {"sha256", std::string(64, '0')}});
    model.write(folder, file);
    out.push_back({std::string(file) + ".json"});
  }
}

// What is no file.
inline void write_special(const std::filesystem::path& folder, std::vector<HostileFile>& out) {
  std::filesystem::create_directories(folder / "folder.json");
  std::filesystem::create_symlink("nowhere", folder / "dangling.json");
  std::filesystem::create_symlink("ring.json", folder / "ring.json");
  std::filesystem::create_symlink("/dev/zero", folder / "zero.json");
  check(::mkfifo((folder / "pipe.json").c_str(), 0600) == 0, "cannot make a pipe");
  HostileModel model;
  model.param("w", "f32[2]");
  model.output("y", 0);
  model.write(folder, "weights");
  std::filesystem::remove(folder / "weights.safetensors");
  check(::mkfifo((folder / "weights.safetensors").c_str(), 0600) == 0, "cannot make a pipe");
  for (const char* name : {"folder", "dangling", "ring", "zero", "pipe", "weights"})
    out.push_back({std::string(name) + ".json", {"inspect", "verify", "export"}});
}

}  // namespace detail

// Writes them all into an empty folder.
inline std::vector<HostileFile> write_hostile_models(const std::filesystem::path& folder) {
  std::vector<HostileFile> out;
  detail::write_wide(folder, out);
  detail::write_long(folder, out);
  detail::write_names(folder, out);
  detail::write_special(folder, out);
  return out;
}

}  // namespace tessera::testing
