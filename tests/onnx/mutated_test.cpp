// Broken ONNX files are refused in one line, or read: by bytes, and by fields of their messages,
// which stay well-formed and mean something else. $TESSERA_ONNX_MUTATIONS says how many of each
// file.
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "core/files/atomic_file.h"
#include "core/memory_rule.h"
#include "core/text.h"
#include "onnx/export.h"
#include "onnx/import.h"
#include "onnx/wire.h"
#include "tests/datasets/temp_dir.h"
#include "tests/mutated.h"
#include "tests/onnx/networks.h"
#include "tests/onnx/node_cases.h"

namespace tessera::onnx {
namespace {

struct Field {
  std::uint32_t number = 0;
  Wire wire = Wire::varint;
  std::int64_t integer = 0;
  std::string bytes = {};
};

// Nothing where the bytes are no message.
std::optional<std::vector<Field>> fields_of(std::string_view message) {
  std::vector<Field> out;
  try {
    for (FieldReader in(message); in.next();) {
      Field field{in.number(), in.wire()};
      if (field.wire == Wire::varint) field.integer = in.integer();
      if (field.wire == Wire::fixed32) field.bytes.assign(1, 'f');
      if (field.wire == Wire::bytes) field.bytes = in.bytes();
      if (field.wire != Wire::fixed64) out.push_back(std::move(field));
    }
  } catch (const Error&) {
    return std::nullopt;
  }
  return out;
}

std::string message_of(const std::vector<Field>& fields) {
  FieldWriter out;
  for (const Field& field : fields) {
    if (field.wire == Wire::varint) out.integer(field.number, field.integer);
    if (field.wire == Wire::bytes) out.bytes(field.number, field.bytes);
    if (field.wire == Wire::fixed32) out.real(field.number, 0.5f);
  }
  return out.text();
}

std::int64_t other_number(Rng& rng) {
  constexpr std::int64_t kOften[] = {0,
                                     1,
                                     2,
                                     3,
                                     7,
                                     -1,
                                     -2,
                                     16,
                                     25,
                                     99,
                                     1 << 20,
                                     std::int64_t{1} << 31,
                                     std::int64_t{1} << 40,
                                     std::numeric_limits<std::int64_t>::max(),
                                     std::numeric_limits<std::int64_t>::min()};
  return kOften[rng.below(std::size(kOften))];
}

// The message with one field somewhere in it changed, left out, repeated or moved.
std::string with_another_field(std::string_view message, Rng& rng, int depth = 0) {
  auto fields = fields_of(message);
  if (!fields || fields->empty()) return tessera::testing::mutated(message, rng);
  const std::size_t at = rng.below(fields->size());
  Field& field = (*fields)[at];
  const bool inside = field.wire == Wire::bytes && depth < 6 && fields_of(field.bytes).has_value();
  if (inside && rng.below(8) != 0) {
    field.bytes = with_another_field(field.bytes, rng, depth + 1);
    return message_of(*fields);
  }
  const std::size_t other = rng.below(fields->size());
  switch (rng.below(6)) {
    case 0:
      fields->erase(fields->begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      fields->insert(fields->begin() + static_cast<std::ptrdiff_t>(other), Field(field));
      break;
    case 2:
      std::swap((*fields)[at], (*fields)[other]);
      break;
    case 3:  // the content of another
      if ((*fields)[other].wire == field.wire) {
        field.bytes = (*fields)[other].bytes;
        field.integer = (*fields)[other].integer;
      }
      break;
    default:
      field.integer = other_number(rng);
      if (field.wire == Wire::bytes)
        field.bytes = tessera::testing::mutated(field.bytes + "x", rng);
      break;
  }
  return message_of(*fields);
}

int times() {
  const char* given = std::getenv("TESSERA_ONNX_MUTATIONS");
  return given ? std::atoi(given) : 25;
}

// Reads the file; what is read is prepared to run, and run where that is little work.
void use(const std::filesystem::path& file) {
  constexpr double kMostWork = 1e8;
  const Model model = import_model(file).model;
  const Plan plan = compile(model, {.batch = 1});
  double work = 0;
  for (const StepInfo& step : plan.steps()) work += step.flops + static_cast<double>(step.bytes);
  if (work < kMostWork) plan.run(inputs_of(model.graph, 1, 2));
}

TEST(OnnxMutated, RefusedInOneLineOrRead) {
  const datasets::TempDir folder;
  std::map<std::string, std::string> files;
  files["lenet5"] = export_model(packed(zoo_model("lenet5"), "uniform:4@32")).bytes;
  files["looked-up"] = export_model(packed(zoo_model("lenet300"), "adaptive:2")).bytes;
  files["lstm"] = export_model(language_model()).bytes;
  files["resnet20"] = export_model(zoo_model("resnet20")).bytes;
  if (const auto cases = node_cases_folder(); !cases.empty()) {
    for (const char* name :
         {"test_resize_upsample_sizes_cubic", "test_slice_neg_steps", "test_gru_with_initial_bias",
          "test_layer_normalization_4d_axis1", "test_range_float_type_positive_delta_expanded"})
      files[name] = read_file(cases / name / "model.onnx");
  }
  const std::filesystem::path file = folder.path() / "x.onnx";
  int refused = 0, read = 0;
  for (const auto& [name, bytes] : files) {
    Rng rng(1, 2);
    for (int i = 0; i < times(); ++i) {
      const std::string broken =
          i % 4 == 0 ? tessera::testing::mutated(bytes, rng) : with_another_field(bytes, rng);
      tessera::testing::write_anew(file, broken);
      reset_allocation_peak();
      try {
        use(file);
        ++read;
      } catch (const Error& e) {
        ++refused;
        const std::string line = e.what();
        EXPECT_EQ(line.find('\n'), line.npos) << name << " " << i << ": " << line;
        EXPECT_NE(line.find("x.onnx"), line.npos) << name << " " << i << ": " << line;
      } catch (const std::exception& e) {
        ADD_FAILURE() << name << " " << i << ": " << e.what();
      }
      // Reading and preparing, and a run on one sample.
      EXPECT_LT(allocation_count().peak_bytes, 2 * memory_limit(std::ssize(broken)))
          << name << " " << i;
    }
  }
  RecordProperty("read", read);
  EXPECT_GT(refused, times());
  EXPECT_GT(read, times() / 4);
}

// A model of one Relu on an initializer of this type, shape and, where there are any, bytes.
std::string relu_of(std::int64_t type, const Ints& dims, const std::string& raw) {
  FieldWriter tensor, output, node, graph, opset, model;
  for (const std::int64_t dim : dims) tensor.integer(1, dim);
  tensor.integer(2, type), tensor.bytes(8, "w");
  if (!raw.empty()) tensor.bytes(9, raw);
  output.bytes(1, "y");
  node.bytes(1, "w"), node.bytes(2, "y"), node.bytes(4, "Relu");
  graph.message(1, node), graph.message(5, tensor), graph.message(12, output);
  opset.integer(2, 17);
  model.integer(1, 8), model.message(8, opset), model.message(7, graph);
  return model.text();
}

TEST(OnnxFiles, DeclaredSizesNeedTheirBytes) {
  const datasets::TempDir folder;
  const auto file = folder.path() / "m.onnx";
  reset_allocation_peak();
  for (const auto& [dims, raw] :
       {std::pair(Ints{1 << 30}, std::string()), std::pair(Ints{1 << 30}, std::string(8, 'x')),
        std::pair(Ints{1 << 20, 1 << 20}, std::string(8, 'x')), std::pair(Ints{-2}, std::string()),
        std::pair(Ints{3}, std::string(8, 'x'))}) {
    write_file(file, relu_of(1, dims, raw));
    try {
      import_model(file);
      ADD_FAILURE() << Quoted{raw} << dims.size();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("initializer 'w': "), std::string::npos) << e.what();
    }
  }
  EXPECT_LT(allocation_count().peak_bytes, 1 << 20);
}

TEST(OnnxFiles, NodesGiveNewResults) {
  const datasets::TempDir folder;
  const auto file = folder.path() / "m.onnx";
  const auto refused = [&](const std::vector<std::string>& outputs, const std::string& op) {
    FieldWriter tensor, output, node, graph, opset, model;
    tensor.integer(1, 1), tensor.integer(2, 3), tensor.bytes(8, "w"), tensor.bytes(9, "x");
    output.bytes(1, "y");
    node.bytes(1, "w"), node.bytes(1, "w"), node.bytes(4, op), node.bytes(3, "n");
    for (const std::string& name : outputs) node.bytes(2, name);
    graph.message(1, node), graph.message(5, tensor), graph.message(12, output);
    opset.integer(2, 17);
    model.integer(1, 8), model.message(8, opset), model.message(7, graph);
    write_file(file, model.text());
    try {
      import_model(file);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  for (const std::string& op : imported_ops()) {
    EXPECT_NE(refused({}, op).find("): expected a result"), std::string::npos) << op;
    EXPECT_NE(refused({"w"}, op).find("'w' is there already"), std::string::npos) << op;
  }
}

TEST(OnnxFiles, DataOfOtherFilesStaysInTheFolder) {
  const datasets::TempDir folder;
  const auto with_location = [&](const std::string& location, std::int64_t offset) {
    FieldWriter key, where, at, tensor, dims, type, value, output, node, graph, opset, model;
    where.bytes(1, "location"), where.bytes(2, location);
    at.bytes(1, "offset"), at.bytes(2, std::to_string(offset));
    tensor.integer(1, 2), tensor.integer(2, 1), tensor.bytes(8, "w");
    tensor.message(13, where), tensor.message(13, at), tensor.integer(14, 1);
    output.bytes(1, "y");
    node.bytes(1, "w"), node.bytes(2, "y"), node.bytes(4, "Relu");
    graph.message(1, node), graph.message(5, tensor), graph.message(12, output);
    opset.integer(2, 17);
    model.integer(1, 8), model.message(8, opset), model.message(7, graph);
    write_file(folder.path() / "m.onnx", model.text());
    return folder.path() / "m.onnx";
  };
  const float numbers[] = {9, -1, 2};
  write_file(folder.path() / "w.bin", {reinterpret_cast<const char*>(numbers), 12});
  const Imported good = import_model(with_location("w.bin", 4));
  const auto y = compile(good.model).run({}).at("y");
  EXPECT_EQ(y.to_vector<float>(), (std::vector<float>{0, 2}));
  for (const auto& [location, offset, why] :
       {std::tuple("../w.bin", 0, "without '..'"), std::tuple("/etc/passwd", 0, "without '..'"),
        std::tuple("w.bin", 8, "are not in its 12"), std::tuple("none.bin", 0, "is no file")}) {
    try {
      import_model(with_location(location, offset));
      ADD_FAILURE() << location;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("'w'"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace tessera::onnx
