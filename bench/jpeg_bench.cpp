// Decoding of JPEG files and the making of ImageNet samples, one thread, on the pictures of
// $TESSERA_DATA (all *.jpg and *.jpeg below it). "bytes" are those of the files; "Mpixel" those of
// the whole pictures, whatever part of them was decoded. The file itself is read beforehand, except
// by the samples.
//   libjpeg_loop   libjpeg's calls and nothing else: what djpeg does without its output
//   decode         JpegReader, whole picture; /N reduced by N
//   decode_crop    the part that a random crop needs
//   resize         random crops to 224 x 224
//   sample_*       ImageBatches::fill: file, decoding, crop, resizing, colours, normalization
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include <jpeglib.h>

#include "datasets/imagenet.h"

namespace tessera::datasets {
namespace {

struct Picture {
  std::string path;
  std::vector<std::uint8_t> bytes;
  std::int64_t width = 0, height = 0;
};

using Pictures = std::vector<Picture>;

constexpr std::size_t kMaxPictures = 2000;

Pictures find_pictures(const std::filesystem::path& dir) {
  Pictures out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) {
    std::string ending = entry.path().extension().string();
    for (char& c : ending) c = static_cast<char>(std::tolower(c));
    if (out.size() == kMaxPictures || (ending != ".jpg" && ending != ".jpeg")) continue;
    Picture picture{entry.path().string(), {}};
    read_bytes(entry.path(), picture.bytes);
    const JpegReader reader(picture.bytes, picture.path);
    picture.width = reader.width();
    picture.height = reader.height();
    out.push_back(std::move(picture));
  }
  std::sort(out.begin(), out.end(),
            [](const Picture& a, const Picture& b) { return a.path < b.path; });
  check(!out.empty(), dir.string(), ": no *.jpg and no *.jpeg");
  return out;
}

// Calls work(picture) for one picture after the other.
template <class Work>
void each(benchmark::State& state, const Pictures& pictures, const Work& work) {
  std::int64_t bytes = 0, pixels = 0;
  std::size_t at = 0;
  for (auto _ : state) {
    const Picture& picture = pictures[at];
    work(picture);
    bytes += static_cast<std::int64_t>(picture.bytes.size());
    pixels += picture.width * picture.height;
    at = (at + 1) % pictures.size();
  }
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(bytes);
  state.counters["Mpixel/s"] =
      benchmark::Counter(static_cast<double>(pixels) / 1e6, benchmark::Counter::kIsRate);
}

void libjpeg_loop(benchmark::State& state, const Pictures& pictures) {
  std::vector<std::uint8_t> out;
  each(state, pictures, [&](const Picture& picture) {
    jpeg_decompress_struct info;
    jpeg_error_mgr errors;
    info.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, picture.bytes.data(), static_cast<unsigned long>(picture.bytes.size()));
    jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info);
    const std::size_t stride = std::size_t{3} * info.output_width;
    out.resize(std::max(out.size(), stride * info.output_height));
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = out.data() + info.output_scanline * stride;
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    jpeg_destroy_decompress(&info);
  });
}

void decode(benchmark::State& state, const Pictures& pictures) {
  RgbImage memory;
  const std::int64_t d = state.range(0);
  each(state, pictures, [&](const Picture& picture) {
    JpegReader reader(picture.bytes, picture.path);
    reader.read({0, 0, (picture.width + d - 1) / d, (picture.height + d - 1) / d},
                static_cast<int>(d), memory);
  });
}

void decode_crop(benchmark::State& state, const Pictures& pictures) {
  RgbImage memory;
  Rng rng(1, 0);
  each(state, pictures, [&](const Picture& picture) {
    JpegReader reader(picture.bytes, picture.path);
    reader.read(random_crop(picture.width, picture.height, {}, rng), 1, memory);
  });
}

void resize(benchmark::State& state, const Pictures& pictures) {
  std::vector<RgbImage> images(std::min<std::size_t>(pictures.size(), 16));
  std::vector<RgbView> views(images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    JpegReader reader(pictures[i].bytes, pictures[i].path);
    views[i] = reader.read(images[i]);
  }
  Resizer resizer;
  RgbImage out;
  Rng rng(1, 0);
  std::size_t at = 0;
  for (auto _ : state) {
    const RgbView& view = views[at++ % views.size()];
    const PixelRect box = random_crop(view.width, view.height, {}, rng);
    resizer.run({box.width, box.height, 224, 224, {0, 0, 224, 224}}, view.crop(box), out);
  }
  state.SetItemsProcessed(state.iterations());
}

// A batch of one picture at a time.
void sample(benchmark::State& state, const Pictures& pictures, const ImageOptions& options,
            std::int64_t epoch) {
  ImageFiles files{.name = "bench", .class_ids = {"any"}};
  for (const Picture& picture : pictures) files.files.push_back(picture.path);
  files.labels.assign(pictures.size(), 0);
  const ImageBatches batches(files, options);
  TensorMap one = batch_of(batches.own_fields(), 1);
  std::int64_t at = 0;
  each(state, pictures, [&](const Picture&) {
    batches.fill(epoch, at, one);
    at = (at + 1) % batches.samples();
  });
}

void add_all(const Pictures& pictures) {
  auto add = [&](const char* name, auto function) {
    return benchmark::RegisterBenchmark(
               name, [&pictures, function](benchmark::State& s) { function(s, pictures); })
        ->Unit(benchmark::kMillisecond);
  };
  add("libjpeg_loop", libjpeg_loop);
  add("decode", decode)->Arg(1)->Arg(2)->Arg(4)->Arg(8);
  add("decode_crop", decode_crop);
  add("resize", resize);
  ImageOptions options{.shuffle = false, .threads = 1};
  add("sample_eval", [options](auto& s, const auto& p) { sample(s, p, options, -1); });
  options.augment.emplace();
  add("sample_train", [options](auto& s, const auto& p) { sample(s, p, options, 0); });
  options.augment->brightness = options.augment->contrast = options.augment->saturation = 0.4f;
  add("sample_train_jitter", [options](auto& s, const auto& p) { sample(s, p, options, 0); });
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const char* dir = std::getenv("TESSERA_DATA");
  check(dir != nullptr, "expected TESSERA_DATA=DIR, a folder of JPEG pictures");
  const Pictures pictures = find_pictures(dir);
  std::int64_t bytes = 0, pixels = 0;
  for (const Picture& picture : pictures) {
    bytes += static_cast<std::int64_t>(picture.bytes.size());
    pixels += picture.width * picture.height;
  }
  const auto n = static_cast<double>(pictures.size());
  std::cout << pictures.size() << " pictures of " << static_cast<double>(bytes) / 1e3 / n
            << " kB and " << static_cast<double>(pixels) / 1e6 / n << " Mpixel on average\n";
  add_all(pictures);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace tessera::datasets

int main(int argc, char** argv) {
  try {
    return tessera::datasets::run(argc, argv);
  } catch (const tessera::Error& error) {
    std::cerr << "jpeg_bench: " << error.what() << "\n";
    return 2;
  }
}
