// coco on few built-in pictures and on small folders: trained, compressed, measured, drawn, and
// what it refuses.
#include <fstream>

#include "tests/apps/app.h"
#include "tests/datasets/pictures.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;

class CocoApp : public App {
 protected:
  CocoApp() : App("coco") {}
  Args with_data(Args args) const {
    args.insert(args.end(), {"--data", "synthetic:32:8", "--threads", "1"});
    return args;
  }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << text;
  }
  // A folder in COCO's layout with one picture of 64 x 48.
  std::string folder_of(const std::string& name, const std::string& annotations,
                        const std::string& picture = "a.jpg") const {
    write(name + "/instances.json",
          R"({"images": [{"id": 4, "file_name": "a.jpg", "width": 64, "height": 48}], )"
          R"("categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}], )"
          R"("annotations": [)" +
              annotations + "]}");
    write(name + "/images/" + picture, datasets::encode_jpeg(datasets::waves(64, 48)));
    return path(name);
  }
};

TEST_F(CocoApp, TrainsCompressesEvaluatesAndDraws) {
  const Json trained = json(
      with_data({"train", "--net", "tiny", "--size", "64", "--epochs", "2", "--out", path("out")}));
  const Json& row = trained["rows"][0];
  for (const char* key : {"test_AP", "test_AP50", "test_AP75", "test_APsmall", "test_APmedium",
                          "test_APlarge", "test_AR1", "test_AR10", "test_AR100", "test_loss"})
    EXPECT_TRUE(row.contains(key)) << key;
  const std::string dense = path("out/tiny-reference-s1.json");
  // Every way into the task: after training, Fisher information, distillation from a teacher, and a
  // size for which tensors get bits of their own.
  const Json packed =
      json(with_data({"compress", "--from", dense, "--method", "dc,fisher,mocq", "--target-bpw",
                      "4", "--rule", ".*layer[234].*=skip", "--sensitivity", "fisher",
                      "--train-epochs", "1", "--calibration-samples", "8", "--out", path("out")}));
  ASSERT_EQ(packed["rows"].size(), 3u);
  double dense_bytes = 0;
  for (const auto& file : fs::directory_iterator(path("out"))) {
    const std::string name = file.path().filename().string();
    if (name.starts_with("tiny-reference") && name.ends_with(".safetensors"))
      dense_bytes = static_cast<double>(fs::file_size(file));
  }
  for (const Json& one : packed["rows"])
    EXPECT_LT(one.at("weights_bytes").get<double>(), 0.95 * dense_bytes);
  const std::string model = path("out/tiny-dc-bpw4-s1.json");
  const Json evaluated = json(with_data({"eval", model}));
  EXPECT_EQ(evaluated["test_AP"], packed["rows"][0]["AP_after"]);

  json(with_data({"detect", model, "--pictures", "2", "--min-score", "0", "--out", path("png")}));
  EXPECT_TRUE(read_file(path("png/1-boxes.png")).starts_with("\x89PNG"));
  EXPECT_FALSE(fs::exists(path("png/3-boxes.png")));
  const std::string found = path("found.json");
  json(with_data({"detect", model, "--pictures", "0", "--min-score", "0.005", "--results", found,
                  "--out", path("png")}));
  EXPECT_TRUE(parse_json(read_file(found), "found").is_array());
}

TEST_F(CocoApp, ScoresResultsAlone) {
  const std::string dir =
      folder_of("set", R"({"id": 1, "image_id": 4, "category_id": 9, "bbox": [10, 10, 20, 20]})");
  const auto score = [&](const std::string& results) {
    write("results.json", results);
    return json({"score", path("results.json"), dir + "/instances.json"});
  };
  const Json right =
      score(R"([{"image_id": 4, "category_id": 9, "bbox": [10, 10, 20, 20], "score": 0.9}])");
  EXPECT_NEAR(right["AP"].get<double>(), 100, 1e-6);
  EXPECT_NEAR(right["category_ap"]["9"].get<double>(), 100, 1e-6);
  EXPECT_EQ(right["category_ap"]["3"], -1);
  EXPECT_NEAR(score("[]")["AP"].get<double>(), 0, 1e-9);
  write("results.json", R"([{"image_id": 5}])");
  EXPECT_NE(refused({"score", path("results.json"), dir + "/instances.json"}).find("results.json"),
            std::string::npos);
}

TEST_F(CocoApp, OddAnnotationsAreCocosMatter) {
  // Over the border, outside, without an area, a crowd, and id 0.
  const std::string dir = folder_of("odd", R"(
      {"id": 1, "image_id": 4, "category_id": 9, "bbox": [-10, 10, 30, 100]},
      {"id": 2, "image_id": 4, "category_id": 9, "bbox": [900, 10, 20, 20]},
      {"id": 3, "image_id": 4, "category_id": 3, "bbox": [10, 10, 0, 0]},
      {"id": 4, "image_id": 4, "category_id": 3, "bbox": [0, 0, 64, 48], "iscrowd": 1},
      {"id": 0, "image_id": 4, "category_id": 3, "bbox": [5, 5, 20, 20]})");
  const Json trained = json({"train", "--data", dir, "--epochs", "2", "--batch", "1", "--augment",
                             "crop,flip", "--net", "tiny", "--size", "64", "--out", path("out")});
  EXPECT_TRUE(trained["rows"][0]["test_loss"].is_number());
  const std::string model = path("out/tiny-reference-s1.json");
  const Result drawn =
      must({"detect", model, dir + "/images/a.jpg", "--out", path("png"), "--min-score", "0"});
  EXPECT_TRUE(fs::exists(path("png/a-boxes.png"))) << drawn.out;
  // A picture without any object, and none at all.
  const std::string empty = folder_of("empty", "");
  EXPECT_EQ(json({"eval", model, "--data", empty})["test_AP"], -1);
  // Another list of categories is another task.
  EXPECT_NE(refused(with_data({"eval", model})).find("categories"), std::string::npos);
}

TEST_F(CocoApp, RefusesWhatItCannotRead) {
  const auto refusal = [&](const std::string& dir) {
    return refused({"train", "--data", dir, "--epochs", "1", "--out", path("out")});
  };
  EXPECT_NE(refusal(path("nowhere")).find("expected annotations/instances_val2017.json"),
            std::string::npos);
  EXPECT_NE(refusal(folder_of("missing", "", "b.jpg")).find("image 4: there is no picture"),
            std::string::npos);
  EXPECT_NE(refusal(folder_of("unknown", R"({"id": 1, "image_id": 4, "category_id": 8,
                              "bbox": [1, 1, 2, 2]})"))
                .find("there is no category 8"),
            std::string::npos);
  EXPECT_NE(refusal(folder_of("negative", R"({"id": 1, "image_id": 4, "category_id": 9,
                              "bbox": [1, 1, -2, 2]})"))
                .find("annotations 0"),
            std::string::npos);
  write("cut/instances.json", R"({"images": [{"id": 4)");
  EXPECT_NE(refusal(path("cut")).find("this is no JSON"), std::string::npos);
  const std::string broken = folder_of("broken", "");
  write("broken/images/a.jpg", "no picture");
  EXPECT_NE(refusal(broken).find("expected a JPEG file"), std::string::npos);
  EXPECT_NE(refused(with_data({"train", "--net", "darknet"})).find("--cfg FILE"),
            std::string::npos);
  EXPECT_NE(
      refused(with_data({"train", "--augment", "cutout"})).find("crop, flip, turn and colours"),
      std::string::npos);
}

// A small network in darknet's files: imported, compressed from what the model file itself says.
TEST_F(CocoApp, ImportsDarknet) {
  const std::string dir =
      folder_of("set", R"({"id": 1, "image_id": 4, "category_id": 9, "bbox": [10, 10, 20, 20]})");
  write("net.cfg",
        "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nbatch_normalize=1\n"
        "filters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n[convolutional]\n"
        "filters=7\nsize=1\nactivation=linear\n[yolo]\nmask=0\nanchors=8,8\nclasses=2\n");
  std::string weights("\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  for (int i = 0; i < 4 * 16 + 16 * 27 + 7 + 7 * 16; ++i) {
    const float v = i < 16 ? 0.1f : i < 64 ? 1.0f : 0.02f * static_cast<float>(i % 11 - 5);
    weights.append(reinterpret_cast<const char*>(&v), 4);
  }
  write("net.weights", weights);
  const Args data = {"--data", dir, "--fit", "stretch", "--preprocess", "unit"};
  const auto with = [&](Args args) {
    args.insert(args.end(), data.begin(), data.end());
    return args;
  };
  const Json imported = json(with({"import", path("net.weights"), "--net", "darknet", "--cfg",
                                   path("net.cfg"), "--out", path("out")}));
  EXPECT_EQ(imported["imported"], 10 + 3 - 3);
  // The file that it was made from may be named again, another one not.
  const Args plan =
      with({"compress", "--from", path("out/imported.json"), "--plan", "--bits", "2", "--policy",
            "all", "--out", path("out"), "--net", "darknet", "--cfg", path("net.cfg")});
  EXPECT_NE(must(plan).out.find("0.conv.weight"), std::string::npos);
  std::ofstream(path("net.cfg"), std::ios::app) << "# more\n";
  EXPECT_NE(refused(plan).find("imported.json holds a network of another cfg"), std::string::npos);
  fs::remove(path("net.cfg"));
  const Json packed =
      json({"compress", "--from", path("out/imported.json"), "--data", dir, "--method", "dc,fisher",
            "--bits", "2", "--policy", "all", "--calibration-samples", "1", "--out", path("out")});
  EXPECT_EQ(packed["rows"].size(), 2u);
  write("net.weights", weights.substr(0, 100));
  EXPECT_NE(refused(with({"import", path("net.weights"), "--net", "darknet", "--cfg",
                          path("net.cfg"), "--out", path("out")}))
                .find("net.cfg"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::testing
