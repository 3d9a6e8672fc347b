#include "common/exact_math.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

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

// By squaring: base^13 = base^1 base^4 base^8. Of 2^64 and more nothing but 0 or 1 is left.
double WholePower(double base, double exponent) {
  constexpr double kHuge = 0x1p63;
  double power = 1;
  for (auto left = static_cast<uint64_t>(std::min(exponent, kHuge)); left > 0; left /= 2) {
    if (left % 2 == 1) power *= base;
    base *= base;
  }
  return power;
}

// For a fraction in [0, 1), by its binary digits: base^0.101b = base^(1/2) base^(1/8).
double FractionalPower(double base, double fraction) {
  double power = 1;
  while (fraction > 0) {
    base = std::sqrt(base);
    fraction *= 2;
    if (fraction < 1) continue;
    power *= base;
    fraction -= 1;
  }
  return power;
}

}  // namespace

double ExactPower(double base, double exponent) {
  const double whole = std::floor(exponent);
  return WholePower(base, whole) * FractionalPower(base, exponent - whole);
}

double ExactCos(double x) {
  if (x <= kPi / 4) return CosSeries(x);
  if (x <= 3 * kPi / 4) return SinSeries((kPi / 2 - x) + kPiRest / 2);
  return -CosSeries((kPi - x) + kPiRest);
}

}  // namespace tessera
