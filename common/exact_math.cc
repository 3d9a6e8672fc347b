#include "common/exact_math.h"

namespace tessera {
namespace {

// pi as a sum of two doubles: the nearest one and what it lacks.
constexpr double kPi = 0x1.921fb54442d18p+1;
constexpr double kPiRest = 0x1.1a62633145c07p-53;

// For |x| <= pi/4 the first term left out is below 3e-18.
constexpr int kTerms = 8;

// 1 - x^2/(1*2) (1 - x^2/(3*4) (1 - ...)).
double CosSeries(double x) {
  double sum = 1;
  for (int k = kTerms; k >= 1; --k) sum = 1 - x * x / ((2 * k - 1) * (2 * k)) * sum;
  return sum;
}

// x (1 - x^2/(2*3) (1 - x^2/(4*5) (1 - ...))).
double SinSeries(double x) {
  double sum = 1;
  for (int k = kTerms; k >= 1; --k) sum = 1 - x * x / ((2 * k) * (2 * k + 1)) * sum;
  return x * sum;
}

}  // namespace

double ExactCos(double x) {
  if (x <= kPi / 4) return CosSeries(x);
  if (x <= 3 * kPi / 4) return SinSeries((kPi / 2 - x) + kPiRest / 2);
  return -CosSeries((kPi - x) + kPiRest);
}

}  // namespace tessera
