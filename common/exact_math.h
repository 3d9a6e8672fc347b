// Mathematical functions with the same bits on every machine: only + - * and /, which IEEE 754 rounds
// exactly. (The functions of the C library differ in the last bit from one release or processor to another.)
#pragma once

namespace tessera {

// cos(x) for x in [0, pi] radians, to within 3e-16; exactly 1 at 0 and -1 at pi. Inexact outside of it.
double ExactCos(double x);

}  // namespace tessera
