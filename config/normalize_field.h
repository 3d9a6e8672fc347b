// `data.normalize`: how pixels become numbers around 0.
#pragma once

#include "config/field.h"

namespace tessera {

// `measured`, or { mean: [0.286], std: [0.353] }: one number per channel, of pixels from 0 to 1.
Field NormalizeField();

}  // namespace tessera
