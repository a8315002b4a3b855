#include "datasets/jpeg.h"

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>  // before jpeglib.h, which needs it
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>
#include <vector>

#include <jerror.h>
#include <jpeglib.h>

#if !defined(LIBJPEG_TURBO_VERSION_NUMBER)
#error "libjpeg-turbo is needed: other libjpegs cannot decode a part of a picture"
#endif

namespace tessera::datasets {
namespace {

// A file of a few kilobytes can hold thousands of scans of a large picture, each a pass over it.
constexpr int kMaxScans = 100;
constexpr std::int64_t kMaxFileBytes = std::int64_t{1} << 28;
// Interpolation of colours across the edge of a box needs a neighbour.
constexpr std::int64_t kMargin = 2;

struct Errors {
  jpeg_error_mgr base;  // first: libjpeg knows the address of this one
  std::jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  info->err->format_message(info, errors->text);
  std::longjmp(errors->jump, 1);
}

// libjpeg goes on after data errors and fills in grey. Only these leave the picture whole.
bool harmless(int code) {
  return code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM;
}

void emit(j_common_ptr info, int level) {
  if (level < 0 && !harmless(info->err->msg_code)) leave(info);
}

void limit_scans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* errors = reinterpret_cast<Errors*>(info->err);
  std::snprintf(errors->text, sizeof errors->text, "more than %d scans", kMaxScans);
  std::longjmp(errors->jump, 1);
}

// Calls f, which libjpeg may leave by longjmp; false when it did. Neither this function nor an f
// may own anything: nothing is destroyed on that way.
template <class F>
[[gnu::noinline]] bool returns(std::jmp_buf& jump, const F& f) {
  if (setjmp(jump) != 0) return false;
  f();
  return true;
}

// What a file that is not a JPEG is; empty when it is one.
std::string_view other_format(std::span<const std::uint8_t> bytes) {
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 16));
  if (start.empty()) return "an empty file";
  if (start.starts_with("\xFF\xD8")) return {};
  if (start.starts_with("\x89PNG")) return "a PNG file";
  if (start.starts_with("GIF8")) return "a GIF file";
  if (start.starts_with("BM")) return "a BMP file";
  if (start.starts_with("RIFF")) return "a RIFF file (WebP?)";
  if (start.starts_with("II*") || start.starts_with("MM")) return "a TIFF file";
  if (start.starts_with("<")) return "a text file (HTML?)";
  return "no JPEG file";
}

// Decoding a box stops before the end of the data, where libjpeg would notice that it is missing.
// A file may go on after the marker.
bool has_end_marker(std::span<const std::uint8_t> bytes) {
  for (std::size_t i = bytes.size(); i >= 2; --i) {
    if (bytes[i - 1] == 0xD9 && bytes[i - 2] == 0xFF) return true;
  }
  return false;
}

// One row; a file by Adobe holds 255 - ink.
void cmyk_to_rgb(const std::uint8_t* in, bool inverted, std::int64_t n, std::uint8_t* out) {
  const int flip = inverted ? 0 : 255;
  for (std::int64_t i = 0; i < n; ++i) {
    const int light = in[4 * i + 3] ^ flip;
    for (std::int64_t c = 0; c < 3; ++c)
      out[3 * i + c] = static_cast<std::uint8_t>(((in[4 * i + c] ^ flip) * light + 127) / 255);
  }
}

}  // namespace

struct JpegReader::State {
  jpeg_decompress_struct info{};
  Errors errors{};
  jpeg_progress_mgr progress{};
  std::span<const std::uint8_t> bytes;
  std::string name;
  std::vector<std::uint8_t> ink;  // a row of CMYK

  State(std::span<const std::uint8_t> data, std::string title)
      : bytes(data), name(std::move(title)) {
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = leave;
    errors.base.emit_message = emit;
    progress.progress_monitor = limit_scans;
  }
  ~State() { jpeg_destroy_decompress(&info); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  template <class... Args>
  void require(bool condition, const Args&... message) const {
    check(condition, "[jpeg] ", name, ": ", message...);
  }
  template <class F>
  void call(const F& f) {
    require(returns(errors.jump, f), static_cast<const char*>(errors.text));
  }
};

JpegReader::JpegReader(std::span<const std::uint8_t> bytes, std::string name,
                       std::int64_t max_pixels)
    : state_(std::make_unique<State>(bytes, std::move(name))) {
  const std::string_view other = other_format(bytes);
  state_->require(other.empty(), "expected a JPEG file, found ", other);
  read_header(max_pixels);
}

JpegReader::~JpegReader() = default;

void JpegReader::read_header(std::int64_t max_pixels) {
  auto& info = state_->info;
  state_->call([&, this] {
    jpeg_create_decompress(&info);
    info.progress = &state_->progress;
    jpeg_mem_src(&info, state_->bytes.data(), static_cast<unsigned long>(state_->bytes.size()));
    jpeg_read_header(&info, TRUE);
  });
  width_ = info.image_width;
  height_ = info.image_height;
  state_->require(width_ * height_ <= max_pixels, width_, " x ", height_,
                  " pixels are more than the limit of ", max_pixels);
  state_->require(info.num_components == 1 || info.num_components == 3 || info.num_components == 4,
                  "expected 1, 3 or 4 components, found ", info.num_components);
  state_->require(has_end_marker(state_->bytes), "premature end of file: no end marker in ",
                  state_->bytes.size(), " bytes");
}

int JpegReader::components() const {
  return state_->info.num_components;
}

int JpegReader::denominator(std::int64_t width, std::int64_t height, std::int64_t min_width,
                            std::int64_t min_height) {
  int out = 8;
  while (out > 1 && (width / out < min_width || height / out < min_height)) out /= 2;
  return out;
}

RgbView JpegReader::read(const PixelRect& box, int denominator, RgbImage& memory) {
  auto& info = state_->info;
  state_->require(denominator == 1 || denominator == 2 || denominator == 4 || denominator == 8,
                  "expected a reduction by 1, 2, 4 or 8, got ", denominator);
  const bool cmyk = info.num_components == 4;
  info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  info.scale_num = 1;
  info.scale_denom = static_cast<unsigned>(denominator);
  state_->call([&] { jpeg_start_decompress(&info); });
  const std::int64_t width = info.output_width, height = info.output_height;
  state_->require(box.width > 0 && box.height > 0 && box.x >= 0 && box.y >= 0 &&
                      box.width <= width - box.x && box.height <= height - box.y,
                  "a box of ", box.width, " x ", box.height, " pixels at (", box.x, ", ", box.y,
                  ") leaves the picture of ", width, " x ", height);

  // Columns come in whole blocks: the box lies somewhere in what is decoded.
  const std::int64_t left = std::max<std::int64_t>(0, box.x - kMargin);
  auto column = static_cast<JDIMENSION>(left);
  auto columns = static_cast<JDIMENSION>(std::min(width, box.x + box.width + kMargin) - left);
  if (columns < width) state_->call([&] { jpeg_crop_scanline(&info, &column, &columns); });
  memory.resize(info.output_width, box.height);
  if (cmyk) state_->ink.resize(static_cast<std::size_t>(4 * info.output_width));

  state_->call([&, this] {
    if (box.y > 0) jpeg_skip_scanlines(&info, static_cast<JDIMENSION>(box.y));
    for (std::int64_t y = 0; y < box.height; ++y) {
      JSAMPROW row = cmyk ? state_->ink.data() : memory.row(y);
      jpeg_read_scanlines(&info, &row, 1);
      if (cmyk) cmyk_to_rgb(row, info.saw_Adobe_marker, info.output_width, memory.row(y));
    }
    if (info.output_scanline == info.output_height) {
      jpeg_finish_decompress(&info);
    } else {
      jpeg_abort_decompress(&info);
    }
  });
  return memory.view().crop({box.x - column, 0, box.width, box.height});
}

Tensor decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name, int denominator) {
  JpegReader reader(bytes, name);
  RgbImage memory;
  const std::int64_t width = (reader.width() + denominator - 1) / std::max(denominator, 1),
                     height = (reader.height() + denominator - 1) / std::max(denominator, 1);
  const RgbView view = reader.read({0, 0, width, height}, denominator, memory);
  return Tensor::from(std::span<const std::uint8_t>(
                          view.data, static_cast<std::size_t>(3 * view.width * view.height)),
                      {view.height, view.width, 3});
}

Tensor read_jpeg(const std::filesystem::path& path, int denominator) {
  std::vector<std::uint8_t> bytes;
  read_bytes(path, bytes);
  return decode_jpeg(bytes, path.string(), denominator);
}

void read_bytes(const std::filesystem::path& path, std::vector<std::uint8_t>& bytes) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = in ? static_cast<std::streamoff>(in.tellg()) : -1;
  check(size >= 0 && std::filesystem::is_regular_file(path), "[jpeg] ", path.string(),
        ": cannot be opened: ", std::strerror(errno));
  check(size < kMaxFileBytes, "[jpeg] ", path.string(), ": ", size,
        " bytes are more than the limit of ", kMaxFileBytes);
  bytes.resize(static_cast<std::size_t>(size));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), size);
  check(in.gcount() == size, "[jpeg] ", path.string(), ": cannot be read: ", std::strerror(errno));
}

}  // namespace tessera::datasets
