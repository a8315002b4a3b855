// Paths of an SVG with few bytes: what a picture cannot show is left out.
#pragma once

#include <string>
#include <vector>

namespace tessera::experiment {

struct Pixel {
  double x = 0, y = 0;
};

// Of the points within a pixel and a half only the lowest and the highest; of these, only those
// that the line through the others misses by more than a third of a pixel. By x, both ends stay.
std::vector<Pixel> thinned(const std::vector<Pixel>& points);

// A tenth of a pixel: "12.3", "-.5". Anything far outside a page is drawn at its edge.
std::string place(double pixels);

// Data of a path element, in steps from point to point.
class PathData {
 public:
  void move(Pixel to) { step('m', to); }
  void line(Pixel to) { step('l', to); }
  void lines(const std::vector<Pixel>& points);
  const std::string& text() const { return text_; }

 private:
  void step(char command, Pixel to);

  std::string text_;
  char command_ = 'z';       // of the last step
  long long x_ = 0, y_ = 0;  // tenths of a pixel, as written
};

}  // namespace tessera::experiment
