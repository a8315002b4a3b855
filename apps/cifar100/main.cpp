// cifar100: convolutional networks on CIFAR-100, trained, compressed, and run from their codebooks.
#include "apps/images/cifar.h"

int main(int argc, char** argv) {
  return tessera::apps::run_benchmark(argc, argv, tessera::apps::cifar(100));
}
