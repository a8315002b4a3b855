// cifar10: convolutional networks on CIFAR-10, trained, compressed, and run from their codebooks.
#include "apps/images/cifar.h"

int main(int argc, char** argv) {
  return tessera::apps::run_benchmark(argc, argv, tessera::apps::cifar(10));
}
