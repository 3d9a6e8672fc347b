// What to say of a data set that is not there but comes in a package of the distribution.
#pragma once

#include <string>

namespace tessera {

// "; install it with `apt-get install ...`" when a package puts a data set into `folder`; else which packages
// bring which data sets, and where.
std::string InstallHint(const std::string& folder);

}  // namespace tessera
