// Reports in a real browser: Chromium, without a window, where it is installed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "experiment/histograms.h"
#include "report/html/report.h"
#include "tests/datasets/temp_dir.h"
#include "tests/test_dir.h"

namespace tessera::experiment {
namespace {

constexpr std::int64_t kWidths[] = {390, 1280};

// A folder of results of one task and the page that is made of them.
class Pages {
 public:
  explicit Pages(const std::filesystem::path& root) : root_(root) {}

  void store(const std::string& page, nn::Metric metric, const Variant& variant, std::int64_t seed,
             double reference) {
    Compression c;
    c.variant = variant;
    c.file = "x.json";
    c.seed = seed;
    c.epochs = 5;
    c.before = reference;
    c.direct = metric.value;
    c.after.all = {1000, {metric, {"loss", 0.5, "", true, 4}}};
    c.weights_bytes = 1234567;
    c.json_bytes = 4000;
    c.effective_bits = c.bits_per_weight = c.entropy_bits =
        variant.codebook == "adaptive:2" ? 1 : 2;
    c.dense_us = {8123.4, 9123.4, 9999};
    c.packed_us = {4123.4, 22123.4, 40000};
    c.tensors = {
        {"backbone.layer1.0.downsample.0.weight", "[300,784]", "cb1", 235200, 29400, 8, 0, 0, 0},
        {"fc1.bias", "[300]", "f32", 300, 0, 0, 0, 0, 1200}};
    c.machine = Machine{"Abacus", 8,
                        2,        "avx2+avx512+vnni+vbmi+bf16",
                        "1.2.3",  "mnist compare --out " + std::string(200, 'x')};
    const std::string name = name_of(variant, seed);
    folder(page).store(name, config(variant, seed), c.json());
    write_file(root_ / page / (name + ".log.jsonl"), log_of(metric, seed));
    write_file(root_ / page / (name + ".histograms.json"), json_text(histograms()));
  }
  void fail(const std::string& page, const Variant& variant, const std::string& problem) {
    folder(page).store_problem(name_of(variant, 1), config(variant, 1), problem);
  }
  // Each page and a second one that holds it in frames of all widths.
  void write() const {
    const std::string probe = read_file(testing::test_dir() / "report/probe.js");
    std::string frames;
    for (const std::string& page : names_) {
      std::string html = report_html(load_report(root_ / page));
      const auto put = [&](const std::string& before, const std::string& text) {
        const std::size_t at = html.rfind(before);
        ASSERT_NE(at, html.npos);
        html.insert(at, text);
      };
      put("</body>", "<script>" + probe + "</script>");
      put("<style>", "<script>const errors = []; onerror = e => errors.push(e);</script>");
      write_file(root_ / (page + ".html"), html);
      for (const std::int64_t width : kWidths) {
        frames +=
            cat("<iframe src=\"", page, ".html\" width=\"", width, "\" height=\"800\"></iframe>\n");
      }
    }
    write_file(root_ / "frames.html",
               cat("<!DOCTYPE html><html><head><meta name=\"color-scheme\" content=\"light dark\">"
                   "</head><body><pre id=\"found\">[]</pre><script>const all = [];\n"
                   "onmessage = ({data}) => { all.push(data); found.textContent = "
                   "JSON.stringify(all).replace(/[<>&\\u00a0]/g, c => '\\\\u' + "
                   "c.charCodeAt().toString(16).padStart(4, '0')); };</script>\n",
                   frames, "</body></html>"));
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  Results folder(const std::string& page) {
    if (std::find(names_.begin(), names_.end(), page) == names_.end()) names_.push_back(page);
    std::filesystem::create_directories(root_ / page);
    return Results(root_ / page, Results::Existing::reuse);
  }
  static std::string name_of(const Variant& variant, std::int64_t seed) {
    return cat("net-", variant.slug(), "-s", seed);
  }
  static Config config(const Variant& variant, std::int64_t seed) {
    return {{"network", "a-network-with-a-name-of-many-words-that-no-line-of-a-phone-can-hold"},
            {"method", variant.method},
            {"codebook", variant.codebook},
            {"seed", std::to_string(seed)},
            {"weights_sha256", std::string(64, 'f')}};
  }
  static std::string log_of(const nn::Metric& metric, std::int64_t seed) {
    std::string out = "{\"event\": \"begin\", \"phase\": \"lc\", \"epoch\": 0}\n";
    for (std::int64_t i = 1; i <= 5; ++i) {
      out += cat("{\"event\": \"epoch\", \"phase\": \"lc\", \"epoch\": ", i,
                 ", \"loss\": ", i == 4 ? "\"nan\"" : cat(1.0 / static_cast<double>(i + seed)),
                 ", \"lr\": 0.1}\n", "{\"event\": \"c_step\", \"phase\": \"lc\", \"epoch\": ", i,
                 ", \"distance\": 0.5, \"", metric_key(metric, "test"),
                 "\": ", metric.value + static_cast<double>(i), "}\n");
    }
    return out;
  }
  static Json histograms() {
    quant::CodebookTensor c;
    c.shape = Shape{4, 3};
    c.format.bits = 1;
    c.format.group_rows = 4;
    c.k = 2;
    c.entries = {-1, 1};
    c.indices = {0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1};
    State before, after;
    before.set("w", Tensor::from(std::vector<float>{-3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3},
                                 Shape{4, 3}));
    after.set("w", Tensor::from(std::vector<float>(12, 1.0f), Shape{4, 3}));
    return weight_histograms(before, after, {{"w", c}});
  }

  std::filesystem::path root_;
  std::vector<std::string> names_;
};

// What the page with the frames holds once all have reported, or an array that lacks some.
Json seen(const std::filesystem::path& root, bool dark) {
  const std::string out = (root / "dom.html").string(), log = (root / "browser.log").string();
  const std::string command =
      cat("timeout 40 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
          "--allow-file-access-from-files --user-data-dir='",
          (root / "profile").string(),
          "' --window-size=1400,900 --blink-settings=preferredColorScheme=", dark ? 0 : 1,
          " --enable-logging=stderr --virtual-time-budget=10000 --dump-dom 'file://",
          (root / "frames.html").string(), "' > '", out, "' 2> '", log, "'");
  EXPECT_EQ(std::system(command.c_str()), 0) << read_file(log);
  const std::string words = read_file(log);
  // Pages have nothing to say to a console.
  const std::size_t console = words.find("CONSOLE");
  EXPECT_EQ(console, words.npos) << words.substr(console, 300);
  const std::string html = read_file(out), open = "<pre id=\"found\">";
  const std::size_t at = html.find(open);
  if (at == html.npos) return Json::array();
  const std::size_t begin = at + open.size();
  return parse_json(html.substr(begin, html.find("</pre>", begin) - begin), out);
}

nn::Metric metric(const std::string& name, double value, const std::string& unit, bool lower) {
  return {name, value, unit, lower, 2};
}

class Browser : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v chromium > /dev/null 2>&1") != 0) {
      GTEST_SKIP() << "chromium is not installed";
    }
  }
  // Every page at every width, light and dark, without a fault; calls fn for each.
  template <class Fn>
  void look(const Pages& pages, Fn&& fn) {
    pages.write();
    for (const bool dark : {false, true}) {
      const Json all = seen(root.path(), dark);
      const JsonAt document(all, "frames");
      EXPECT_EQ(document.size(), std::size(kWidths) * pages.names().size());
      document.each([&](const JsonAt& at) {
        const std::string page = at.at("page").text();
        SCOPED_TRACE(cat(page, ", ", at.at("width").integer(), dark ? ", dark" : ", light"));
        for (const char* what : {"errors", "faults"}) {
          at.at(what).each([](const JsonAt& fault) { ADD_FAILURE() << fault.text(); });
        }
        EXPECT_EQ(at.at("dark").boolean(), dark);
        EXPECT_EQ(at.at("behind").number() < 0.2, dark);
        EXPECT_GT(at.at("texts").integer(), 20);
        EXPECT_GT(at.at("tooltips").integer(), 0);
        fn(page, at);
      });
    }
  }

  tessera::datasets::TempDir root;
};

std::string order(const JsonAt& at, const std::string& click) {
  std::string out;
  at.at("orders").at(click).each([&](const JsonAt& method) { out += method.text() + " "; });
  return out;
}

TEST_F(Browser, ReportsOfEveryTask) {
  Pages pages(root.path());
  for (const std::int64_t seed : {1, 2}) {
    for (const auto& [method, error] : {std::pair{"dc", 40.0}, {"mocq", 3.0}, {"lc", 12.0}}) {
      pages.store("image", metric("error", error, "%", true), {method, "adaptive:2", 0}, seed, 2);
      pages.store("image", metric("error", 2.5, "%", true), {method, "adaptive:4", 0}, seed, 2);
    }
  }
  pages.fail("image", {"lsq", "adaptive:2", 0}, std::string(300, 'w'));
  for (const auto& [method, value] :
       {std::pair{"dc", 12345.6}, {"fisher", 135.84}, {"qar", 99.5}}) {
    pages.store("text", metric("perplexity", value, "", true), {method, "adaptive:16", 0}, 1, 95);
    pages.store("boxes", metric("AP", value / 200, "%", false), {method, "adaptive:16", 0}, 1, 60);
  }
  look(pages, [&](const std::string& page, const JsonAt& at) {
    EXPECT_GE(at.at("tables").integer(), 3);
    if (page == "image.html") {
      EXPECT_EQ(order(at, "1 bit up"), "mocq lc dc lsq ");
      EXPECT_EQ(order(at, "1 bit down"), "dc lc mocq lsq ");
      EXPECT_EQ(order(at, "method down"), "mocq lsq lc dc ");
    } else {
      EXPECT_EQ(order(at, "4 bits up"), "qar fisher dc ");
    }
  });
}

TEST_F(Browser, ReportsAtTheirWorst) {
  Pages pages(root.path());
  pages.store("one", metric("error", 3, "%", true), {"lc", "adaptive:2", 0}, 1, 2);
  for (int m = 0; m < 20; ++m) {
    const std::string method = cat("MMMM-WWWW-mmmm-method-of-a-long-name-", m);
    for (const char* codebook : {"adaptive:2", "vector:16x4"}) {
      pages.store("many", metric("error", 2.5 + 3 * m, "%", true), {method, codebook, 0}, 1, 2);
    }
  }
  pages.store("nan", metric("perplexity", 1e9, "", true), {"lc", "adaptive:2", 0}, 1, 95);
  pages.store("nan", metric("perplexity", std::nan(""), "", true), {"dc", "adaptive:2", 0}, 1, 95);
  pages.store("nan", metric("perplexity", 120, "", true), {"qar", "adaptive:2", 0}, 1, 95);
  look(pages, [](const std::string&, const JsonAt&) {});
}

}  // namespace
}  // namespace tessera::experiment
