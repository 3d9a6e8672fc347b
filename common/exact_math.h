// Mathematical functions with the same bits on every machine: only + - * / and square roots, which IEEE
// 754 rounds exactly. (The functions of the C library differ in the last bit from one release or processor to
// another.)
#pragma once

namespace tessera {

// cos(x) for x in [0, pi] radians, to within 3e-16; exactly 1 at 0 and -1 at pi. Inexact outside of it.
double ExactCos(double x);

// base^exponent for base in [0, 1] and a finite exponent >= 0; 0^0 is 1. The whole part of the exponent by
// repeated squaring, its fraction by repeated square roots, so that the relative error is at most
// (exponent + 64) * 2^-53 (until the power underflows). Meaningless outside of it.
double ExactPower(double base, double exponent);

}  // namespace tessera
